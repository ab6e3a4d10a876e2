// Command oidc-probe is a relying party on go-oidc: it knows an issuer's URL, an audience and a CA, and learns
// everything else by discovery.
//
//	oidc-probe ISSUER AUDIENCE CA_FILE
//
// It reads one token a line and answers each with a line of JSON. It keeps running, so that its cache of keys is warm.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: oidc-probe ISSUER AUDIENCE CA_FILE")
	}
	client, err := clientTrusting(args[2])
	if err != nil {
		return err
	}
	ctx := oidc.ClientContext(context.Background(), client)
	provider, err := oidc.NewProvider(ctx, args[0])
	if err != nil {
		return err
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: args[1]})
	say(map[string]any{"ready": true})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		say(verify(ctx, verifier, lines.Text()))
	}
	return lines.Err()
}

func verify(ctx context.Context, verifier *oidc.IDTokenVerifier, text string) map[string]any {
	token, err := verifier.Verify(ctx, text)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	signed, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.RS256})
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return map[string]any{"sub": token.Subject, "alg": signed.Signatures[0].Header.Algorithm}
}

func clientTrusting(file string) (*http.Client, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return &http.Client{Transport: transport, Timeout: 15 * time.Second}, nil
}

func say(answer map[string]any) {
	line, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}
