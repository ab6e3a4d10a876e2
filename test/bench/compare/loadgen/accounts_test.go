package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStatCountsFromTheLastParenthesis(t *testing.T) {
	stat := "71 (a) b (c) S 42 71 71 0 -1 4194560 100 200 0 0 150 50 25 75 20 0 1 0 100"
	found, err := parseStat([]byte(stat))
	if err != nil || found.parent != 42 || found.cpu != 3 {
		t.Fatalf("found %+v, %v", found, err)
	}
}

func TestParseStatRefusesWhatIsTooShort(t *testing.T) {
	for _, text := range []string{"", "71 (node) S 1", "71 node S 42 71 71"} {
		if found, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q gives %+v", text, found)
		}
	}
}

func TestMachineTimesLeaveOutIdleAndWaiting(t *testing.T) {
	busy, stolen, err := machineTimes([]byte("cpu  100 200 300 99999 88888 400 500 600 0 0\ncpu0 1 2 3\n"))
	if err != nil || busy != 15 || stolen != 6 {
		t.Fatalf("busy %v, stolen %v, %v", busy, stolen, err)
	}
	if _, _, err := machineTimes([]byte("cpu 1 2\n")); err == nil {
		t.Fatal("a line that is too short is no error")
	}
}

func TestCpuOfTreeHoldsTheParentOfADescendant(t *testing.T) {
	all := map[int]process{1: {parent: 0}, 5: {parent: 1}, 6: {parent: 5}, 7: {parent: 1}, 8: {parent: 8}}
	for pid, wanted := range map[int]bool{5: true, 6: true, 7: false, 1: false, 8: false} {
		if descends(all, pid, 5) != wanted {
			t.Errorf("whether %d descends from 5 is not %v", pid, wanted)
		}
	}
	if _, err := cpuOfTree(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := cpuOfTree(1 << 30); err == nil {
		t.Error("a process that does not run has CPU time")
	}
}

func TestQuantile(t *testing.T) {
	var times []time.Duration
	for i := range 100 {
		times = append(times, time.Duration(i+1)*time.Millisecond)
	}
	for share, wanted := range map[float64]float64{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if found := quantile(times, share); found != wanted {
			t.Errorf("quantile %v is %v ms, expected %v", share, found, wanted)
		}
	}
}
