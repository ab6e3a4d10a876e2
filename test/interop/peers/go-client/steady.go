package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	handshakeEvery  = 50 * time.Millisecond
	validationEvery = 200 * time.Millisecond
	countEvery      = 10 * time.Second
	// Calls under way at once at most: a machine that cannot keep the pace shows as skipped turns, not as time-outs.
	mostAtOnce = 32
)

// steadyLine is what the steady programs say: a failure when it happens, and what was done so far.
type steadyLine struct {
	// "failed", "away" for a JWT-SVID that the agent could not be asked for, "count", and at the end "sum".
	Event   string `json:"event"`
	At      string `json:"at"`
	What    string `json:"what,omitempty"`
	Message string `json:"message,omitempty"`
	*steadySum
}

type steadySum struct {
	Handshakes  int `json:"handshakes"`
	Validations int `json:"validations"`
	Failed      int `json:"failed"`
	Away        int `json:"away"`
	Skipped     int `json:"skipped"`
	// How many different ones were met: X509-SVIDs of the peer, authorities that signed them, keys that signed JWT-SVIDs.
	Svids       int `json:"svids"`
	Authorities int `json:"authorities"`
	Keys        int `json:"keys"`
}

// steadyBook counts for both programs.
type steadyBook struct {
	mutex       sync.Mutex
	sum         steadySum
	svids       map[string]bool
	authorities map[string]bool
	keys        map[string]bool
}

func newSteadyBook() *steadyBook {
	return &steadyBook{svids: map[string]bool{}, authorities: map[string]bool{}, keys: map[string]bool{}}
}

func (book *steadyBook) note(change func(sum *steadySum)) {
	book.mutex.Lock()
	defer book.mutex.Unlock()
	change(&book.sum)
}

func (book *steadyBook) failed(what string, err error) {
	book.mutex.Lock()
	defer book.mutex.Unlock()
	book.sum.Failed++
	say(steadyLine{Event: "failed", At: stamp(), What: what, Message: err.Error()})
}

func (book *steadyBook) away(err error) {
	book.mutex.Lock()
	defer book.mutex.Unlock()
	book.sum.Away++
	say(steadyLine{Event: "away", At: stamp(), What: status.Code(err).String(), Message: err.Error()})
}

func (book *steadyBook) met(conn *tls.Conn) {
	leaf := conn.ConnectionState().PeerCertificates[0]
	book.mutex.Lock()
	defer book.mutex.Unlock()
	book.sum.Handshakes++
	book.svids[leaf.SerialNumber.String()] = true
	book.authorities[hex.EncodeToString(leaf.AuthorityKeyId)] = true
}

func (book *steadyBook) validated(token string) {
	head, _, _ := strings.Cut(token, ".")
	book.mutex.Lock()
	defer book.mutex.Unlock()
	book.sum.Validations++
	book.keys[head] = true
}

func (book *steadyBook) tell(event string) {
	book.mutex.Lock()
	defer book.mutex.Unlock()
	sum := book.sum
	sum.Svids, sum.Authorities, sum.Keys = len(book.svids), len(book.authorities), len(book.keys)
	say(steadyLine{Event: event, At: stamp(), steadySum: &sum})
}

func (book *steadyBook) tellNowAndThen(ctx context.Context) {
	ticker := time.NewTicker(countEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			book.tell("count")
		}
	}
}

func stamp() string {
	return time.Now().UTC().Format(time.RFC3339Nano)
}

// serveSteadily lets a peer in again and again, and validates the JWT-SVIDs that it brings by its own JWT bundle.
func serveSteadily(ctx context.Context, address, peer string) error {
	source, own, authorizer, err := credentials(ctx, peer)
	if err != nil {
		return err
	}
	defer source.Close()
	tokens, err := workloadapi.NewJWTSource(ctx)
	if err != nil {
		return err
	}
	defer tokens.Close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	book := newSteadyBook()
	say(mtlsLine{Event: "listening", Address: listener.Addr().String(), Own: own})
	go book.tellNowAndThen(ctx)
	config := tlsconfig.MTLSServerConfig(source, source, authorizer)
	var calls sync.WaitGroup
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			calls.Wait()
			book.tell("sum")
			return nil
		}
		if err != nil {
			return err
		}
		calls.Go(func() {
			if err := answerSteadily(tls.Server(conn, config), book, tokens, own, peer); err != nil {
				book.failed("handshake of the server", err)
			}
		})
	}
}

func answerSteadily(conn *tls.Conn, book *steadyBook, tokens *workloadapi.JWTSource, own, peer string) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := conn.Handshake(); err != nil {
		return err
	}
	book.met(conn)
	said, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	answer := "ok"
	if token, isToken := strings.CutPrefix(strings.TrimSpace(said), "token "); isToken {
		if err := validated(token, tokens, own, peer); err != nil {
			book.failed("validation by the server", err)
			answer = "no"
		} else {
			book.validated(token)
		}
	}
	_, err = fmt.Fprintln(conn, answer)
	return err
}

// validated holds a JWT-SVID against the JWT bundle at hand, without asking anybody.
func validated(token string, tokens *workloadapi.JWTSource, audience, subject string) error {
	svid, err := jwtsvid.ParseAndValidate(token, tokens, []string{audience})
	if err == nil && svid.ID.String() != subject {
		err = fmt.Errorf("the token is for %s, expected %s", svid.ID, subject)
	}
	return err
}

// callSteadily meets a peer by a new connection at a steady pace, and brings it JWT-SVIDs at another one, until it is told to
// stop. It ends with an error where anything has failed.
func callSteadily(ctx context.Context, address, peer string) error {
	source, own, authorizer, err := credentials(ctx, peer)
	if err != nil {
		return err
	}
	defer source.Close()
	tokens, err := workloadapi.NewJWTSource(ctx)
	if err != nil {
		return err
	}
	defer tokens.Close()
	caller := &steadyCaller{
		address: address, own: own, peer: peer, tokens: tokens, book: newSteadyBook(),
		config: tlsconfig.MTLSClientConfig(source, source, authorizer),
		places: make(chan struct{}, mostAtOnce),
	}
	go caller.book.tellNowAndThen(ctx)
	var paces sync.WaitGroup
	paces.Go(func() { caller.keepUp(ctx, handshakeEvery, caller.meet) })
	paces.Go(func() { caller.keepUp(ctx, validationEvery, caller.bringToken) })
	paces.Wait()
	caller.calls.Wait()
	caller.book.tell("sum")
	if caller.book.sum.Failed > 0 {
		return errors.New("something has failed")
	}
	return nil
}

type steadyCaller struct {
	address, own, peer string
	tokens             *workloadapi.JWTSource
	config             *tls.Config
	book               *steadyBook
	places             chan struct{}
	calls              sync.WaitGroup
	mutex              sync.Mutex
	last               *jwtsvid.SVID
}

func (caller *steadyCaller) keepUp(ctx context.Context, pace time.Duration, work func()) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case caller.places <- struct{}{}:
			caller.calls.Go(func() {
				defer func() { <-caller.places }()
				work()
			})
		default:
			caller.book.note(func(sum *steadySum) { sum.Skipped++ })
		}
	}
}

func (caller *steadyCaller) meet() {
	if _, err := caller.say("hello"); err != nil {
		caller.book.failed("handshake of the client", err)
	}
}

// bringToken fetches a JWT-SVID, holds it against the own bundle, and has the peer hold it against its own. While there is no
// agent to ask, the one at hand is used, as long as it lives.
func (caller *steadyCaller) bringToken() {
	token, err := caller.token()
	if err == nil {
		err = validated(token, caller.tokens, caller.peer, caller.own)
	}
	if err != nil {
		caller.book.failed("validation by the client", err)
		return
	}
	caller.book.validated(token)
	answer, err := caller.say("token " + token)
	if err != nil {
		caller.book.failed("handshake of the client with a token", err)
	} else if answer != "ok" {
		caller.book.failed("validation", fmt.Errorf("the peer answered %q", answer))
	}
}

func (caller *steadyCaller) token() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	svid, err := caller.tokens.FetchJWTSVID(ctx, jwtsvid.Params{Audience: caller.peer, Subject: spiffeid.RequireFromString(caller.own)})
	caller.mutex.Lock()
	defer caller.mutex.Unlock()
	if err == nil {
		caller.last = svid
		return svid.Marshal(), nil
	}
	if status.Code(err) != codes.Unavailable {
		return "", err
	}
	caller.book.away(err)
	if caller.last == nil || !time.Now().Before(caller.last.Expiry) {
		return "", fmt.Errorf("no JWT-SVID is left: %w", err)
	}
	return caller.last.Marshal(), nil
}

// say does a handshake, says a line and gives the answer.
func (caller *steadyCaller) say(line string) (string, error) {
	plain, err := net.DialTimeout("tcp", caller.address, patience)
	if err != nil {
		return "", err
	}
	conn := tls.Client(plain, caller.config)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if err := conn.Handshake(); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	// With TLS 1.3 the client knows only now that it was let in.
	caller.book.met(conn)
	return strings.TrimSpace(answer), nil
}
