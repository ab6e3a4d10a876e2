package main

import (
	"context"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/status"
)

type jwtBundles struct {
	Event string `json:"event"`
	// Trust domain → key IDs of its authorities.
	Bundles map[string][]string `json:"bundles"`
}

// A stream of the Workload API that broke; the library opens it again by itself.
type broken struct {
	Event   string `json:"event"`
	Stream  string `json:"stream"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// watch prints a line for each update of the open streams and each time one broke, until it is told to stop.
func watch(ctx context.Context) error {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	ended := make(chan error, 2)
	go func() { ended <- client.WatchX509Context(ctx, watcher{}) }()
	go func() { ended <- client.WatchJWTBundles(ctx, watcher{}) }()
	err = <-ended
	if ctx.Err() != nil {
		return nil
	}
	return err
}

type watcher struct{}

func (watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	line, err := describe(update, false)
	if err != nil {
		say(failure{Event: "error", Code: "Unknown", Message: err.Error()})
		return
	}
	say(line)
}

func (watcher) OnX509ContextWatchError(err error) {
	say(broken{Event: "broken", Stream: "x509", Code: status.Code(err).String(), Message: err.Error()})
}

func (watcher) OnJWTBundlesUpdate(update *jwtbundle.Set) {
	line := jwtBundles{Event: "jwtBundles", Bundles: map[string][]string{}}
	for _, bundle := range update.Bundles() {
		keyIDs := []string{}
		for keyID := range bundle.JWTAuthorities() {
			keyIDs = append(keyIDs, keyID)
		}
		slices.Sort(keyIDs)
		line.Bundles[bundle.TrustDomain().Name()] = keyIDs
	}
	say(line)
}

func (watcher) OnJWTBundlesWatchError(err error) {
	say(broken{Event: "broken", Stream: "jwtBundles", Code: status.Code(err).String(), Message: err.Error()})
}
