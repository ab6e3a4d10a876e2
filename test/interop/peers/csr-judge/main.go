// csr-judge reads certificate signing requests, one a line in base64, and says of each in one line of JSON whether Go
// takes it with its signature, and what it asks for.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
)

type verdict struct {
	Accepted bool     `json:"accepted"`
	Key      string   `json:"key,omitempty"`
	URIs     []string `json:"uris"`
	DNSNames []string `json:"dnsNames"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	enc := json.NewEncoder(out)
	for in.Scan() {
		if err := enc.Encode(judge(in.Text())); err != nil {
			os.Exit(1)
		}
	}
	if in.Err() != nil {
		os.Exit(1)
	}
}

func judge(line string) verdict {
	v := verdict{URIs: []string{}, DNSNames: []string{}}
	der, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		os.Exit(2)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil || request.CheckSignature() != nil {
		return v
	}
	v.Accepted = true
	v.Key = base64.StdEncoding.EncodeToString(request.RawSubjectPublicKeyInfo)
	for _, uri := range request.URIs {
		v.URIs = append(v.URIs, uri.String())
	}
	v.DNSNames = append(v.DNSNames, request.DNSNames...)
	return v
}
