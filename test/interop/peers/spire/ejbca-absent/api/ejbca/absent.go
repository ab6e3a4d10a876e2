// Package ejbca takes the place of a client library that the Go module proxy does not serve, so that spire-server
// compiles. It offers the names that one upstream-authority plugin of SPIRE mentions, and every way to an EJBCA
// server ends in an error. The tests configure no such plugin.
package ejbca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
)

// GenericOpenAPIError is the one error there is.
type GenericOpenAPIError struct{}

func (GenericOpenAPIError) Error() string { return "this build of spire-server has no EJBCA client" }

// Body is what an EJBCA server would have said.
func (GenericOpenAPIError) Body() []byte { return nil }

// An Authenticator is never made.
type Authenticator fmt.Stringer

// An MTLSAuthenticatorBuilder fails when it is asked to build.
type MTLSAuthenticatorBuilder int

func NewMTLSAuthenticatorBuilder() (b MTLSAuthenticatorBuilder) { return }

func (b MTLSAuthenticatorBuilder) WithClientCertificate(*tls.Certificate) MTLSAuthenticatorBuilder {
	return b
}

func (b MTLSAuthenticatorBuilder) WithCaCertificates([]*x509.Certificate) MTLSAuthenticatorBuilder {
	return b
}

func (MTLSAuthenticatorBuilder) Build() (Authenticator, error) { return nil, GenericOpenAPIError{} }

// Configuration names a server that nobody will call.
type Configuration struct{ Host string }

func NewConfiguration() *Configuration { return new(Configuration) }

func (*Configuration) SetAuthenticator(Authenticator) {}

// APIClient is never made.
type APIClient struct{ V1CertificateApi enroller }

func NewAPIClient(*Configuration) (*APIClient, error) { return nil, GenericOpenAPIError{} }

type enroller struct{}

func (enroller) EnrollPkcs10Certificate(context.Context) (call ApiEnrollPkcs10CertificateRequest) {
	return
}

// ApiEnrollPkcs10CertificateRequest is a call that fails when it is made.
type ApiEnrollPkcs10CertificateRequest struct{}

func (call ApiEnrollPkcs10CertificateRequest) EnrollCertificateRestRequest(EnrollCertificateRestRequest) ApiEnrollPkcs10CertificateRequest {
	return call
}

func (ApiEnrollPkcs10CertificateRequest) Execute() (*CertificateRestResponse, *http.Response, error) {
	return nil, nil, GenericOpenAPIError{}
}

// CertificateRestResponse never arrives.
type CertificateRestResponse struct{ CertificateChain []string }

func (CertificateRestResponse) GetResponseFormat() string { return "" }
func (CertificateRestResponse) GetCertificate() string    { return "" }

// EnrollCertificateRestRequest forgets what is written into it.
type EnrollCertificateRestRequest struct{}

func NewEnrollCertificateRestRequest() *EnrollCertificateRestRequest {
	return new(EnrollCertificateRestRequest)
}

func (EnrollCertificateRestRequest) SetUsername(string)                 {}
func (EnrollCertificateRestRequest) SetPassword(string)                 {}
func (EnrollCertificateRestRequest) SetCertificateRequest(string)       {}
func (EnrollCertificateRestRequest) SetCertificateAuthorityName(string) {}
func (EnrollCertificateRestRequest) SetCertificateProfileName(string)   {}
func (EnrollCertificateRestRequest) SetEndEntityProfileName(string)     {}
func (EnrollCertificateRestRequest) SetAccountBindingId(string)         {}
func (EnrollCertificateRestRequest) SetIncludeChain(bool)               {}
