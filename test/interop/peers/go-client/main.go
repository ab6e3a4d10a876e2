// Command spiffe-probe is a workload that uses go-spiffe as any Go program would. Interop tests run it under
// different users against the socket in SPIFFE_ENDPOINT_SOCKET and read the JSON lines that it prints.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc/status"
)

const usage = `usage: spiffe-probe x509 | jwt AUDIENCE | watch | mtls-server ADDRESS PEER_ID | mtls-client ADDRESS PEER_ID | steady-server ADDRESS PEER_ID | steady-client ADDRESS PEER_ID | delegate SOCKET (pid PID | SELECTOR...) | broker TARGET PID`

// How long a command that answers once may take, connecting included.
const patience = 15 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		say(failure{Event: "error", Code: status.Code(err).String(), Message: err.Error()})
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	once, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch {
	case len(args) == 1 && args[0] == "x509":
		return showX509(once)
	case len(args) == 2 && args[0] == "jwt":
		return showJWT(once, args[1])
	case len(args) == 1 && args[0] == "watch":
		return watch(ctx)
	case len(args) >= 3 && args[0] == "delegate":
		return delegate(once, args[1], args[2:])
	case len(args) == 3 && args[0] == "broker":
		return askBroker(once, args[1], args[2])
	case len(args) == 3 && args[0] == "mtls-server":
		return serveMTLS(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "mtls-client":
		return callMTLS(once, args[1], args[2])
	case len(args) == 3 && args[0] == "steady-server":
		return serveSteadily(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "steady-client":
		return callSteadily(ctx, args[1], args[2])
	}
	return fmt.Errorf("%s", usage)
}

type failure struct {
	Event   string `json:"event"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// say prints one JSON line. Standard output is not buffered, so a reader sees it at once.
func say(line any) {
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		panic(err)
	}
}
