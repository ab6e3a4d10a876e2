package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"strconv"

	"github.com/spiffe/go-spiffe/v2/exp/proto/spiffe/broker"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

type reasonLine struct {
	Event  string `json:"event"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Domain string `json:"domain"`
}

// askBroker asks a Broker Endpoint about a process, with the X509-SVID and the bundles that the Workload API gives us. A refusal
// is printed with its reason.
func askBroker(ctx context.Context, target, pid string) error {
	number, err := strconv.ParseInt(pid, 10, 32)
	if err != nil {
		return err
	}
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	tls := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeAny())
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(grpccredentials.NewTLS(tls)))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := broker.NewAPIClient(conn)
	ctx = metadata.AppendToOutgoingContext(ctx, "broker.spiffe.io", "true")
	named, err := anypb.New(&broker.WorkloadPIDReference{Pid: int32(number)})
	if err != nil {
		return err
	}
	reference := &broker.WorkloadReference{Reference: named}
	line, err := tell(ctx, client, reference)
	if err != nil {
		refusal := reasonLine{Event: "refused", Code: status.Code(err).String()}
		for _, detail := range status.Convert(err).Details() {
			if info, ok := detail.(*errdetails.ErrorInfo); ok {
				refusal.Reason, refusal.Domain = info.Reason, info.Domain
			}
		}
		say(refusal)
		return nil
	}
	say(line)
	return nil
}

func tell(ctx context.Context, client broker.APIClient, reference *broker.WorkloadReference) (*toldLine, error) {
	line := &toldLine{Event: "told", Identities: []string{}}
	svids, err := client.SubscribeToX509SVID(ctx, &broker.SubscribeToX509SVIDRequest{Reference: reference})
	if err != nil {
		return nil, err
	}
	told, err := svids.Recv()
	if err != nil {
		return nil, err
	}
	for _, svid := range told.Svids {
		chain, err := x509.ParseCertificates(svid.X509Svid)
		if err != nil {
			return nil, err
		}
		if _, err := x509.ParsePKCS8PrivateKey(svid.X509SvidKey); err != nil {
			return nil, err
		}
		if _, err := x509.ParseCertificates(svid.Bundle); err != nil {
			return nil, err
		}
		if chain[0].URIs[0].String() != svid.SpiffeId {
			return nil, fmt.Errorf("the SVID is for %s, its certificate for %s", svid.SpiffeId, chain[0].URIs[0])
		}
		line.Identities = append(line.Identities, svid.SpiffeId)
	}
	tokens, err := client.FetchJWTSVID(ctx, &broker.FetchJWTSVIDRequest{Reference: reference, Audience: []string{"a"}})
	if err != nil {
		return nil, err
	}
	for _, token := range tokens.Svids {
		svid, err := jwtsvid.ParseInsecure(token.Svid, []string{"a"})
		if err != nil {
			return nil, err
		}
		line.Subjects = append(line.Subjects, svid.ID.String())
	}
	bundles, err := client.SubscribeToX509Bundles(ctx, &broker.SubscribeToX509BundlesRequest{Reference: reference})
	if err != nil {
		return nil, err
	}
	x509Bundles, err := bundles.Recv()
	if err != nil {
		return nil, err
	}
	if line.X509Bundles, err = certificateKeys(x509Bundles.Bundles); err != nil {
		return nil, err
	}
	keys, err := client.SubscribeToJWTBundles(ctx, &broker.SubscribeToJWTBundlesRequest{Reference: reference})
	if err != nil {
		return nil, err
	}
	jwtBundles, err := keys.Recv()
	if err != nil {
		return nil, err
	}
	line.JWTBundles, err = keySetKeys(jwtBundles.Bundles)
	return line, err
}
