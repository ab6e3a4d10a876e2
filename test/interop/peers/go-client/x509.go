package main

import (
	"context"
	"encoding/pem"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

type identity struct {
	ID        string   `json:"id"`
	Hint      string   `json:"hint,omitempty"`
	Subjects  []string `json:"subjects"`
	DNSNames  []string `json:"dnsNames"`
	NotBefore string   `json:"notBefore"`
	NotAfter  string   `json:"notAfter"`
	Serial    string   `json:"serial"`
	Chain     string   `json:"chain,omitempty"`
}

type x509Answer struct {
	Event string `json:"event"`
	// Every identity of one answer, in the order in which it came.
	Identities []identity `json:"identities"`
	// The ID that a source picks when nobody chooses.
	Default string `json:"default"`
	// Trust domain → PEM of its authorities.
	Bundles map[string]string `json:"bundles"`
}

// showX509 asks once, so that a refusal is seen at once; then it does what programs do and opens a source.
func showX509(ctx context.Context) error {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := client.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client))
	if err != nil {
		return err
	}
	defer source.Close()
	picked, err := source.GetX509SVID()
	if err != nil {
		return err
	}
	if _, err := source.GetX509BundleForTrustDomain(picked.ID.TrustDomain()); err != nil {
		return err
	}
	if _, _, err := x509svid.Verify(picked.Certificates, source); err != nil {
		return err
	}
	line, err := describe(answer, true)
	if err != nil {
		return err
	}
	line.Default = picked.ID.String()
	say(line)
	return nil
}

func describe(answer *workloadapi.X509Context, withChain bool) (x509Answer, error) {
	line := x509Answer{Event: "x509", Bundles: map[string]string{}}
	for _, svid := range answer.SVIDs {
		leaf := svid.Certificates[0]
		one := identity{
			ID:        svid.ID.String(),
			Hint:      svid.Hint,
			DNSNames:  leaf.DNSNames,
			NotBefore: leaf.NotBefore.UTC().Format(time.RFC3339),
			NotAfter:  leaf.NotAfter.UTC().Format(time.RFC3339),
			Serial:    leaf.SerialNumber.String(),
		}
		for _, certificate := range svid.Certificates {
			one.Subjects = append(one.Subjects, certificate.Subject.String())
			if withChain {
				one.Chain += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
			}
		}
		line.Identities = append(line.Identities, one)
	}
	if len(answer.SVIDs) > 0 {
		line.Default = answer.DefaultSVID().ID.String()
	}
	for _, bundle := range answer.Bundles.Bundles() {
		text, err := bundle.Marshal()
		if err != nil {
			return line, err
		}
		line.Bundles[bundle.TrustDomain().Name()] = string(text)
	}
	return line, nil
}
