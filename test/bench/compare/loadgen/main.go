// Command loadgen loads one SPIFFE server through SPIRE's server API and says what came of it. It attests one agent
// and registers its entries, then answers each order that comes as a line of JSON on standard input with a line of
// JSON on standard output, until the input ends. It knows nothing of what is behind the API, so that one and the same
// program measures every server.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

// An order is one measure.
type order struct {
	// "x509" for SVID.BatchNewX509SVID, "jwt" for SVID.NewJWTSVID.
	What string `json:"what"`
	// CSRs in one call of x509.
	Batch int `json:"batch"`
	// Calls kept under way where no rate is given.
	Inflight int `json:"inflight"`
	// Calls a second that are begun whatever becomes of earlier ones; 0 keeps Inflight calls under way instead.
	Rate float64 `json:"rate"`
	// Seconds before the clock runs, and seconds that it does.
	Warmup  float64 `json:"warmup"`
	Seconds float64 `json:"seconds"`
}

// A finding is the answer to an order: either Error, or figures.
type finding struct {
	Error string `json:"error,omitempty"`
	// Calls that succeeded while the clock ran, and the SVIDs they brought.
	Calls int `json:"calls"`
	Svids int `json:"svids"`
	// Calls that failed meanwhile, by gRPC code.
	Failed map[string]int `json:"failed"`
	// SVIDs that were verified in full after the clock had stopped.
	Verified int `json:"verified"`
	// How long the clock ran, in seconds.
	Seconds float64 `json:"seconds"`
	// CPU-seconds meanwhile: of the server, of this program, of the whole machine, and what its host took away.
	ServerCPU float64 `json:"serverCpu"`
	OwnCPU    float64 `json:"ownCpu"`
	BusyCPU   float64 `json:"busyCpu"`
	StolenCPU float64 `json:"stolenCpu"`
	// Milliseconds that calls which succeeded took; with a rate, from the moment each was due.
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func main() {
	address := flag.String("server", "", "`host:port` of the server API")
	adminSocket := flag.String("admin", "", "`path` of the server's admin socket")
	pid := flag.Int("pid", 0, "process `id` of the server; its descendants count too")
	trustDomain := flag.String("td", "example.org", "trust domain")
	entries := flag.Int("entries", 100, "registration entries of the agent")
	flag.Parse()
	if err := serve(context.Background(), *address, *adminSocket, *trustDomain, *entries, *pid); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, address, adminSocket, trustDomain string, entries, pid int) error {
	if _, err := cpuOfTree(pid); err != nil {
		return err
	}
	w, err := openWorld(ctx, address, adminSocket, trustDomain, entries)
	if err != nil {
		return err
	}
	defer w.close()
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(map[string]any{"agentId": w.agentID.String(), "entries": len(w.entries)}); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var wanted order
		if err := json.Unmarshal(lines.Bytes(), &wanted); err != nil {
			return fmt.Errorf("an order is no JSON: %w", err)
		}
		found, err := w.carryOut(ctx, wanted, pid)
		if err != nil {
			found = &finding{Error: err.Error()}
		}
		if err := answers.Encode(found); err != nil {
			return err
		}
	}
	return lines.Err()
}
