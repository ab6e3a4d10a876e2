package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	delegatedidentityv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/agent/delegatedidentity/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// What a delegate or a broker was told about a workload, in one form for all of their APIs.
type toldLine struct {
	Event         string   `json:"event"`
	Identities    []string `json:"identities"`
	FederatesWith []string `json:"federatesWith,omitempty"`
	Subjects      []string `json:"subjects,omitempty"`
	X509Bundles   []string `json:"x509Bundles,omitempty"`
	JWTBundles    []string `json:"jwtBundles,omitempty"`
}

// delegate asks the admin socket about a workload: "pid 123", or selectors as type:value.
func delegate(ctx context.Context, socket string, named []string) error {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := delegatedidentityv1.NewDelegatedIdentityClient(conn)
	pid, selectors, err := parseNamed(named)
	if err != nil {
		return err
	}
	line := toldLine{Event: "told", Identities: []string{}}

	svids, err := client.SubscribeToX509SVIDs(ctx, &delegatedidentityv1.SubscribeToX509SVIDsRequest{Pid: pid, Selectors: selectors})
	if err != nil {
		return err
	}
	told, err := svids.Recv()
	if err != nil {
		return err
	}
	line.FederatesWith = told.FederatesWith
	for _, svid := range told.X509Svids {
		leaf, err := x509.ParseCertificate(svid.X509Svid.CertChain[0])
		if err != nil {
			return err
		}
		if _, err := x509.ParsePKCS8PrivateKey(svid.X509SvidKey); err != nil {
			return err
		}
		if leaf.NotAfter.Unix() != svid.X509Svid.ExpiresAt {
			return fmt.Errorf("the SVID expires at %d, its certificate at %d", svid.X509Svid.ExpiresAt, leaf.NotAfter.Unix())
		}
		id := "spiffe://" + svid.X509Svid.Id.TrustDomain + svid.X509Svid.Id.Path
		if id != leaf.URIs[0].String() {
			return fmt.Errorf("the SVID is for %s, its certificate for %s", id, leaf.URIs[0])
		}
		line.Identities = append(line.Identities, id)
	}
	if len(line.Identities) == 0 {
		say(line)
		return nil
	}

	tokens, err := client.FetchJWTSVIDs(ctx, &delegatedidentityv1.FetchJWTSVIDsRequest{Audience: []string{"a"}, Pid: pid, Selectors: selectors})
	if err != nil {
		return err
	}
	for _, token := range tokens.Svids {
		svid, err := jwtsvid.ParseInsecure(token.Token, []string{"a"})
		if err != nil {
			return err
		}
		line.Subjects = append(line.Subjects, svid.ID.String())
	}

	bundles, err := client.SubscribeToX509Bundles(ctx, &delegatedidentityv1.SubscribeToX509BundlesRequest{})
	if err != nil {
		return err
	}
	x509Bundles, err := bundles.Recv()
	if err != nil {
		return err
	}
	if line.X509Bundles, err = certificateKeys(x509Bundles.CaCertificates); err != nil {
		return err
	}
	keys, err := client.SubscribeToJWTBundles(ctx, &delegatedidentityv1.SubscribeToJWTBundlesRequest{})
	if err != nil {
		return err
	}
	jwtBundles, err := keys.Recv()
	if err != nil {
		return err
	}
	if line.JWTBundles, err = keySetKeys(jwtBundles.Bundles); err != nil {
		return err
	}
	say(line)
	return nil
}

func parseNamed(named []string) (int32, []*types.Selector, error) {
	if len(named) == 2 && named[0] == "pid" {
		pid, err := strconv.ParseInt(named[1], 10, 32)
		return int32(pid), nil, err
	}
	var selectors []*types.Selector
	for _, text := range named {
		kind, value, _ := strings.Cut(text, ":")
		selectors = append(selectors, &types.Selector{Type: kind, Value: value})
	}
	return 0, selectors, nil
}

// certificateKeys gives the names of trust domains, in order, after it has read what stands for them.
func certificateKeys(bundles map[string][]byte) ([]string, error) {
	var names []string
	for name, der := range bundles {
		if _, err := x509.ParseCertificates(der); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

func keySetKeys(bundles map[string][]byte) ([]string, error) {
	var names []string
	for name, text := range bundles {
		var set struct {
			Keys []struct {
				Kid string `json:"kid"`
			} `json:"keys"`
		}
		if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) == 0 || set.Keys[0].Kid == "" {
			return nil, fmt.Errorf("%s: no key set with key IDs (%w)", name, err)
		}
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}
