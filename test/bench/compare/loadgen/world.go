package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// Keys with a CSR each, made before any clock runs. A server that remembered keys could not live on so few repeats.
	keyPool = 2000
	// How long the server may take to show an agent its entries; SPIRE takes up to five seconds.
	patience = time.Minute
)

// A world is one server with an agent of ours that has entries, and everything that calls need.
type world struct {
	trustDomain spiffeid.TrustDomain
	admin       *grpc.ClientConn
	agentID     spiffeid.ID
	conn        *grpc.ClientConn
	svids       svidv1.SVIDClient
	entries     []entry
	keys        []signingKey
}

type entry struct {
	name string // its ID in the registry
	id   spiffeid.ID
}

type signingKey struct {
	public *ecdsa.PublicKey
	csr    []byte
}

// openWorld attests an agent by a join token, registers its entries and waits until the server shows them to it.
func openWorld(ctx context.Context, address, adminSocket, domain string, count int) (*world, error) {
	w := &world{}
	var err error
	if w.trustDomain, err = spiffeid.TrustDomainFromString(domain); err != nil {
		return nil, err
	}
	if w.admin, err = grpc.NewClient("unix:"+adminSocket, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return nil, err
	}
	svid, bundle, err := w.attest(ctx, address)
	if err != nil {
		return nil, err
	}
	w.agentID = svid.ID
	authorized := tlsconfig.AuthorizeID(w.idOf("/spire/server"))
	// One connection: that is what an agent has.
	mutual := credentials.NewTLS(tlsconfig.MTLSClientConfig(svid, bundle, authorized))
	if w.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(mutual)); err != nil {
		return nil, err
	}
	w.svids = svidv1.NewSVIDClient(w.conn)
	if err := w.register(ctx, count); err != nil {
		return nil, err
	}
	for i := range keyPool {
		key, csr, err := newCSR(w.entries[i%count].id.URL())
		if err != nil {
			return nil, err
		}
		w.keys = append(w.keys, signingKey{&key.PublicKey, csr})
	}
	return w, nil
}

func (w *world) close() {
	w.conn.Close()
	w.admin.Close()
}

func (w *world) idOf(path string) spiffeid.ID {
	return spiffeid.RequireFromPath(w.trustDomain, path)
}

// bundle asks for the authorities that answers must verify against.
func (w *world) bundle(ctx context.Context) (*spiffebundle.Bundle, error) {
	answer, err := bundlev1.NewBundleClient(w.admin).GetBundle(ctx, &bundlev1.GetBundleRequest{})
	if err != nil {
		return nil, fmt.Errorf("GetBundle: %w", err)
	}
	bundle := spiffebundle.New(w.trustDomain)
	for _, authority := range answer.X509Authorities {
		certificate, err := x509.ParseCertificate(authority.Asn1)
		if err != nil {
			return nil, fmt.Errorf("GetBundle: %w", err)
		}
		bundle.AddX509Authority(certificate)
	}
	for _, authority := range answer.JwtAuthorities {
		key, err := x509.ParsePKIXPublicKey(authority.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("GetBundle: %w", err)
		}
		if err := bundle.AddJWTAuthority(authority.KeyId, key); err != nil {
			return nil, fmt.Errorf("GetBundle: %w", err)
		}
	}
	return bundle, nil
}

func (w *world) attest(ctx context.Context, address string) (*x509svid.SVID, *spiffebundle.Bundle, error) {
	bundle, err := w.bundle(ctx)
	if err != nil {
		return nil, nil, err
	}
	token, err := agentv1.NewAgentClient(w.admin).CreateJoinToken(ctx, &agentv1.CreateJoinTokenRequest{Ttl: 600})
	if err != nil {
		return nil, nil, fmt.Errorf("CreateJoinToken: %w", err)
	}
	serverOnly := credentials.NewTLS(tlsconfig.TLSClientConfig(bundle, tlsconfig.AuthorizeID(w.idOf("/spire/server"))))
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(serverOnly))
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	key, csr, err := newCSR(nil)
	if err != nil {
		return nil, nil, err
	}
	stream, err := agentv1.NewAgentClient(conn).AttestAgent(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("AttestAgent: %w", err)
	}
	params := &agentv1.AttestAgentRequest_Params{
		Data:   &types.AttestationData{Type: "join_token", Payload: []byte(token.Value)},
		Params: &agentv1.AgentX509SVIDParams{Csr: csr},
	}
	if err := stream.Send(&agentv1.AttestAgentRequest{Step: &agentv1.AttestAgentRequest_Params_{Params: params}}); err != nil {
		return nil, nil, fmt.Errorf("AttestAgent: %w", err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, nil, fmt.Errorf("AttestAgent: %w", err)
	}
	chain := answer.GetResult().GetSvid().GetCertChain()
	id, verified, err := x509svid.ParseAndVerify(chain, bundle)
	if err != nil {
		return nil, nil, fmt.Errorf("AttestAgent: %w", err)
	}
	if !key.PublicKey.Equal(verified[0][0].PublicKey) {
		return nil, nil, errors.New("AttestAgent: the SVID carries another key than was asked for")
	}
	certificates, err := x509.ParseCertificates(chain[0])
	if err != nil {
		return nil, nil, err
	}
	for _, der := range chain[1:] {
		more, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, err
		}
		certificates = append(certificates, more)
	}
	return &x509svid.SVID{ID: id, Certificates: certificates, PrivateKey: key}, bundle, nil
}

func (w *world) register(ctx context.Context, count int) error {
	request := &entryv1.BatchCreateEntryRequest{}
	for i := range count {
		path := fmt.Sprintf("/ns/bench/sa/workload-%d", i)
		w.entries = append(w.entries, entry{id: w.idOf(path)})
		request.Entries = append(request.Entries, &types.Entry{
			ParentId:  &types.SPIFFEID{TrustDomain: w.trustDomain.Name(), Path: w.agentID.Path()},
			SpiffeId:  &types.SPIFFEID{TrustDomain: w.trustDomain.Name(), Path: path},
			Selectors: []*types.Selector{{Type: "unix", Value: fmt.Sprintf("uid:%d", i)}},
		})
	}
	created, err := entryv1.NewEntryClient(w.admin).BatchCreateEntry(ctx, request)
	if err != nil {
		return fmt.Errorf("BatchCreateEntry: %w", err)
	}
	for i, result := range created.Results {
		if codes.Code(result.Status.GetCode()) != codes.OK {
			return fmt.Errorf("BatchCreateEntry: %s", result.Status)
		}
		w.entries[i].name = result.Entry.Id
	}
	return w.untilShown(ctx)
}

func (w *world) untilShown(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	client := entryv1.NewEntryClient(w.conn)
	for {
		answer, err := client.GetAuthorizedEntries(ctx, &entryv1.GetAuthorizedEntriesRequest{})
		if err != nil {
			return fmt.Errorf("GetAuthorizedEntries: %w", err)
		}
		if len(answer.Entries) >= len(w.entries) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// newCSR makes a P-256 key and a CSR for it. Servers take nothing but the key from it; agents name the SPIFFE ID too.
func newCSR(uri *url.URL) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{Country: []string{"US"}, Organization: []string{"SPIRE"}}}
	if uri != nil {
		template.URIs = []*url.URL{uri}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	return key, csr, err
}
