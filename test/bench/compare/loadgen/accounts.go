package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Linux counts CPU time for /proc in hundredths of a second on every architecture (USER_HZ).
const ticksPerSecond = 100

// accounts are CPU-seconds used so far: by the server, by this program, by all on the machine, and by its host for
// others.
type accounts struct{ server, own, busy, stolen float64 }

func (a accounts) minus(b accounts) accounts {
	return accounts{a.server - b.server, a.own - b.own, a.busy - b.busy, a.stolen - b.stolen}
}

func readAccounts(pid int) (a accounts, err error) {
	if a.server, err = cpuOfTree(pid); err != nil {
		return a, err
	}
	var usage syscall.Rusage
	if err = syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return a, err
	}
	a.own = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return a, err
	}
	a.busy, a.stolen, err = machineTimes(content)
	return a, err
}

// machineTimes reads the first line of /proc/stat: cpu user nice system idle iowait irq softirq steal …
func machineTimes(content []byte) (busy, stolen float64, err error) {
	line, _, _ := bytes.Cut(content, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 {
		return 0, 0, errors.New("/proc/stat is not as it should be")
	}
	for i, field := range fields[1:9] {
		ticks, err := strconv.ParseFloat(string(field), 64)
		if err != nil {
			return 0, 0, err
		}
		switch i {
		case 0, 1, 2, 5, 6:
			busy += ticks / ticksPerSecond
		case 7:
			stolen = ticks / ticksPerSecond
		}
	}
	return busy, stolen, nil
}

type process struct {
	parent int
	cpu    float64
}

// cpuOfTree gives the CPU-seconds of a process and its descendants. Those of children that ended and were waited for are in
// their parent's account, so that nothing is lost with them.
func cpuOfTree(root int) (float64, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	all := map[int]process{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if found, err := parseStat(content); err == nil {
			all[pid] = found
		}
	}
	if _, runs := all[root]; !runs {
		return 0, fmt.Errorf("no process %d runs", root)
	}
	total := 0.0
	for pid, found := range all {
		if descends(all, pid, root) {
			total += found.cpu
		}
	}
	return total, nil
}

func descends(all map[int]process, pid, root int) bool {
	for range len(all) {
		if pid == root {
			return true
		}
		found, known := all[pid]
		if !known {
			return false
		}
		pid = found.parent
	}
	return false
}

// parseStat reads proc_pid_stat(5): fields 4 (parent) and 14 to 17 (times of its own and of ended children). The name
// before them stands in parentheses and may hold anything, parentheses too.
func parseStat(content []byte) (process, error) {
	fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
	if len(fields) < 15 {
		return process{}, errors.New("a stat file is not as it should be")
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return process{}, err
	}
	cpu := 0.0
	for _, field := range fields[11:15] {
		ticks, err := strconv.ParseFloat(string(field), 64)
		if err != nil {
			return process{}, err
		}
		cpu += ticks / ticksPerSecond
	}
	return process{parent, cpu}, nil
}
