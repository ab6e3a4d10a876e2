package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"google.golang.org/grpc/codes"
)

const audience = "spiffe://example.org/bench-audience"

// wrongAnswer is an answer that came and was not right. It ends the measure: the speed of wrong answers is no figure.
type wrongAnswer struct{ what string }

func (w wrongAnswer) Error() string { return "wrong answer: " + w.what }

func wrong(format string, args ...any) error { return wrongAnswer{fmt.Sprintf(format, args...)} }

// A call is one call of the API with everything that its answer is held against.
type call interface {
	// make calls the server, looks at the answer as far as that is cheap, and gives what it brought.
	make(ctx context.Context) (svids int, later check, err error)
}

// A check verifies one answer in full and gives its SVIDs in a form that no two may share.
type check func(bundle *spiffebundle.Bundle) (identities []string, err error)

// callsFor prepares the calls of an order: they are made one after the other, and then from the first again.
func (w *world) callsFor(wanted order) ([]call, error) {
	switch wanted.What {
	case "x509":
		if wanted.Batch < 1 || wanted.Batch > len(w.entries) {
			return nil, fmt.Errorf("a batch is 1 to %d CSRs: an agent asks once for each entry", len(w.entries))
		}
		return w.x509Calls(wanted.Batch), nil
	case "jwt":
		return w.jwtCalls(), nil
	default:
		return nil, fmt.Errorf("nothing is known of %q", wanted.What)
	}
}

type x509Call struct {
	world   *world
	request *svidv1.BatchNewX509SVIDRequest
	entries []entry
	keys    []signingKey
}

func (w *world) x509Calls(batch int) []call {
	var calls []call
	for next := 0; next+batch <= len(w.keys); next += batch {
		c := &x509Call{world: w, request: &svidv1.BatchNewX509SVIDRequest{}, keys: w.keys[next : next+batch]}
		for i, key := range c.keys {
			e := w.entries[(next+i)%len(w.entries)]
			c.entries = append(c.entries, e)
			c.request.Params = append(c.request.Params, &svidv1.NewX509SVIDParams{EntryId: e.name, Csr: key.csr})
		}
		calls = append(calls, c)
	}
	return calls
}

func (c *x509Call) make(ctx context.Context) (int, check, error) {
	answer, err := c.world.svids.BatchNewX509SVID(ctx, c.request)
	if err != nil {
		return 0, nil, err
	}
	if len(answer.Results) != len(c.keys) {
		return 0, nil, wrong("BatchNewX509SVID of %d CSRs has %d results", len(c.keys), len(answer.Results))
	}
	for i, result := range answer.Results {
		if codes.Code(result.Status.GetCode()) != codes.OK || len(result.Svid.GetCertChain()) == 0 {
			return 0, nil, wrong("BatchNewX509SVID: %s", result.Status)
		}
		if result.Svid.Id.GetPath() != c.entries[i].id.Path() || result.Svid.ExpiresAt == 0 {
			return 0, nil, wrong("BatchNewX509SVID: result %d is of %s", i, result.Svid.Id)
		}
	}
	return len(answer.Results), func(bundle *spiffebundle.Bundle) ([]string, error) { return c.verify(answer, bundle) }, nil
}

func (c *x509Call) verify(answer *svidv1.BatchNewX509SVIDResponse, bundle *spiffebundle.Bundle) ([]string, error) {
	var serials []string
	for i, result := range answer.Results {
		id, chains, err := x509svid.ParseAndVerify(result.Svid.CertChain, bundle)
		if err != nil {
			return nil, wrong("X509-SVID: %v", err)
		}
		leaf := chains[0][0]
		if id != c.entries[i].id {
			return nil, wrong("X509-SVID of %s, and %s was asked for", id, c.entries[i].id)
		}
		if !c.keys[i].public.Equal(leaf.PublicKey) {
			return nil, wrong("X509-SVID of %s carries another key than was asked for", id)
		}
		if leaf.NotAfter.Unix() != result.Svid.ExpiresAt {
			return nil, wrong("X509-SVID of %s ends at %d and is said to end at %d", id, leaf.NotAfter.Unix(), result.Svid.ExpiresAt)
		}
		serials = append(serials, leaf.SerialNumber.String())
	}
	return serials, nil
}

type jwtCall struct {
	world   *world
	request *svidv1.NewJWTSVIDRequest
	entry   entry
}

func (w *world) jwtCalls() []call {
	var calls []call
	for _, e := range w.entries {
		calls = append(calls, &jwtCall{w, &svidv1.NewJWTSVIDRequest{EntryId: e.name, Audience: []string{audience}}, e})
	}
	return calls
}

func (c *jwtCall) make(ctx context.Context) (int, check, error) {
	answer, err := c.world.svids.NewJWTSVID(ctx, c.request)
	if err != nil {
		return 0, nil, err
	}
	svid := answer.GetSvid()
	if bytes.Count([]byte(svid.GetToken()), []byte(".")) != 2 || svid.ExpiresAt <= svid.IssuedAt {
		return 0, nil, wrong("NewJWTSVID: not a JWT-SVID that lives")
	}
	if svid.Id.GetPath() != c.entry.id.Path() {
		return 0, nil, wrong("NewJWTSVID: the answer is of %s", svid.Id)
	}
	return 1, func(bundle *spiffebundle.Bundle) ([]string, error) {
		read, err := jwtsvid.ParseAndValidate(svid.Token, bundle, []string{audience})
		if err != nil {
			return nil, wrong("JWT-SVID: %v", err)
		}
		if read.ID != c.entry.id {
			return nil, wrong("JWT-SVID of %s, and %s was asked for", read.ID, c.entry.id)
		}
		return []string{svid.Token}, nil
	}, nil
}
