package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

type mtlsLine struct {
	Event   string `json:"event"`
	Address string `json:"address,omitempty"`
	Own     string `json:"own,omitempty"`
	Peer    string `json:"peer,omitempty"`
	// The serial number of the X509-SVID that the peer showed.
	PeerSerial string `json:"peerSerial,omitempty"`
	Said       string `json:"said,omitempty"`
	Message    string `json:"message,omitempty"`
}

// serveMTLS prints where it listens, then a line for each caller: who it was, or why it was turned away.
func serveMTLS(ctx context.Context, address, peer string) error {
	source, own, authorizer, err := credentials(ctx, peer)
	if err != nil {
		return err
	}
	defer source.Close()
	listener, err := tls.Listen("tcp", address, tlsconfig.MTLSServerConfig(source, source, authorizer))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	say(mtlsLine{Event: "listening", Address: listener.Addr().String(), Own: own})
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := answer(conn, own); err != nil {
			say(mtlsLine{Event: "refused", Message: err.Error()})
		}
	}
}

// answer greets one caller by both names.
func answer(conn net.Conn, own string) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	said, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	peer, serial, err := peerOf(conn)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "%s greets %s\n", own, peer); err != nil {
		return err
	}
	say(mtlsLine{Event: "peer", Own: own, Peer: peer.String(), PeerSerial: serial, Said: strings.TrimSpace(said)})
	return nil
}

// peerOf reads the ID and the serial number from the certificate that the finished handshake has verified.
func peerOf(conn net.Conn) (spiffeid.ID, string, error) {
	secured, ok := conn.(*tls.Conn)
	if !ok || len(secured.ConnectionState().PeerCertificates) == 0 {
		return spiffeid.ID{}, "", fmt.Errorf("the peer showed no certificate")
	}
	leaf := secured.ConnectionState().PeerCertificates[0]
	id, err := x509svid.IDFromCert(leaf)
	return id, leaf.SerialNumber.String(), err
}

func callMTLS(ctx context.Context, address, peer string) error {
	source, own, authorizer, err := credentials(ctx, peer)
	if err != nil {
		return err
	}
	defer source.Close()
	dialer := tls.Dialer{Config: tlsconfig.MTLSClientConfig(source, source, authorizer)}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s calls\n", own); err != nil {
		return err
	}
	said, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	met, serial, err := peerOf(conn)
	if err != nil {
		return err
	}
	say(mtlsLine{Event: "peer", Own: own, Peer: met.String(), PeerSerial: serial, Said: strings.TrimSpace(said)})
	return nil
}

func credentials(ctx context.Context, peer string) (*workloadapi.X509Source, string, tlsconfig.Authorizer, error) {
	id, err := spiffeid.FromString(peer)
	if err != nil {
		return nil, "", nil, err
	}
	starting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	source, err := workloadapi.NewX509Source(starting)
	if err != nil {
		return nil, "", nil, err
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		source.Close()
		return nil, "", nil, err
	}
	return source, svid.ID.String(), tlsconfig.AuthorizeID(id), nil
}
