// go-ensign, as it is published, against the server that the ENSIGN_ variables name.
//
//	goensign session LABEL      the session of session.go
//	goensign nacks LABEL        with a server that nacks each third event as PERMISSION_DENIED
//	goensign send TOPIC         publishes what standard input says, waits for every ack, prints "acked N"
//	goensign receive TOPIC N    prints the events that come, each acked; ends after N, greetings not counted
//	goensign query SQL          prints the rows
//
// The last three are go-ensign's side of tests/peers/cross; their lines are those of exchange.c.
//
// Nothing here builds it, and go-ensign is no dependency of this project: it is for those who have go-ensign in a
// module of their own. Then GO_ENSIGN names the program for tests/peers/run.
package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"time"

	ensign "github.com/rotationalio/go-ensign"
	api "github.com/rotationalio/go-ensign/api/v1beta1"
	mimetype "github.com/rotationalio/go-ensign/mimetype/v1beta1"
)

const (
	timeout  = 30 * time.Second // for any one thing
	tick     = 20 * time.Millisecond
	greeting = "hello" // sent until it arrives: a subscription gets what is published once it is there
	maxLine  = 1 << 20
)

// ---------------------------------------------------------------- lines

func hexed(s string) string {
	if s == "" {
		return "-"
	}
	return hex.EncodeToString([]byte(s))
}

func unhexed(s string) (string, error) {
	if s == "-" {
		return "", nil
	}
	b, err := hex.DecodeString(s)
	return string(b), err
}

func toLine(e *ensign.Event) string {
	pairs := []string{}
	for key, value := range e.Metadata {
		pairs = append(pairs, hexed(key)+"="+hexed(value))
	}
	sort.Strings(pairs)
	if len(pairs) == 0 {
		pairs = []string{"-"}
	}
	created := fmt.Sprintf("%d.%09d", e.Created.Unix(), e.Created.Nanosecond())
	kind := e.Type // may be nil, which these bear
	version := fmt.Sprintf("%d.%d.%d", kind.GetMajorVersion(), kind.GetMinorVersion(), kind.GetPatchVersion())
	return fmt.Sprintf("%d %s %s %s %s %s", int32(e.Mimetype), hexed(kind.GetName()), version, created,
		strings.Join(pairs, ","), hexed(string(e.Data)))
}

func parsePairs(text string) (ensign.Metadata, error) {
	pairs := ensign.Metadata{}
	if text == "-" {
		return pairs, nil
	}
	for _, pair := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(pair, "=")
		k, err := unhexed(key)
		v, err2 := unhexed(value)
		if err = errors.Join(err, err2); err != nil {
			return nil, err
		}
		pairs.Set(k, v)
	}
	return pairs, nil
}

func fromLine(line string) (*ensign.Event, error) {
	field := strings.Fields(line)
	if len(field) != 6 {
		return nil, fmt.Errorf("%d fields, not MIMETYPE TYPE VERSION CREATED PAIRS DATA", len(field))
	}
	mime, err := strconv.ParseInt(field[0], 10, 32)
	name, err2 := unhexed(field[1])
	kind := &api.Type{Name: name}
	err3 := kind.ParseSemver(field[2])
	var seconds, nanos int64
	_, err4 := fmt.Sscanf(field[3], "%d.%d", &seconds, &nanos)
	pairs, err5 := parsePairs(field[4])
	data, err6 := unhexed(field[5])
	return &ensign.Event{
		Mimetype: mimetype.MIME(mime), Type: kind, Created: time.Unix(seconds, nanos), Metadata: pairs,
		Data: []byte(data),
	}, errors.Join(err, err2, err3, err4, err5, err6)
}

// ---------------------------------------------------------------- the three ways

// acked waits until each has its ack; a nack, or none in time, is an error.
func acked(events []*ensign.Event) error {
	end := time.Now().Add(timeout)
	for i, e := range events {
		for {
			ok, err := e.Acked()
			if err != nil {
				return fmt.Errorf("event %d: %w", i, err)
			}
			if ok {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("event %d of %d has no ack after %s", i, len(events), timeout)
			}
			time.Sleep(tick)
		}
	}
	return nil
}

func send(client *ensign.Client, topic string) error {
	events := []*ensign.Event{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		e, err := fromLine(lines.Text())
		if err != nil {
			return err
		}
		events = append(events, e)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if err := client.Publish(topic, events...); err != nil {
		return err
	}
	if err := acked(events); err != nil {
		return err
	}
	fmt.Println("acked", len(events))
	return nil
}

func receive(client *ensign.Client, topic string, count int) error {
	sub, err := client.Subscribe(topic)
	if err != nil {
		return err
	}
	for count > 0 {
		select {
		case e := <-sub.C:
			fmt.Println(toLine(e))
			if ok, err := e.Ack(); !ok || err != nil {
				return fmt.Errorf("ack: %v, %w", ok, err)
			}
			if string(e.Data) != greeting {
				count--
			}
		case <-time.After(2 * timeout):
			return fmt.Errorf("%d events are missing", count)
		}
	}
	return nil
}

func query(client *ensign.Client, sql string) error {
	ctx, cancel := soon()
	defer cancel()
	cursor, err := client.EnSQL(ctx, &api.Query{Query: sql})
	if err != nil {
		return err
	}
	events, err := cursor.FetchAll()
	if err != nil {
		return err
	}
	for _, e := range events {
		fmt.Println(toLine(e))
	}
	return nil
}

// ---------------------------------------------------------------- main

func exchange(what string, arguments []string) error {
	client, err := ensign.New()
	if err != nil {
		return err
	}
	switch {
	case what == "send" && len(arguments) == 1:
		return send(client, arguments[0])
	case what == "receive" && len(arguments) == 2:
		count, err := strconv.Atoi(arguments[1])
		if err != nil {
			return err
		}
		return receive(client, arguments[0], count)
	case what == "query" && len(arguments) == 1:
		return query(client, arguments[0])
	}
	return errors.New("usage: goensign session|nacks LABEL | send TOPIC | receive TOPIC N | query SQL")
}

func main() {
	// go-ensign sends an event and only then notes that it waits for the ack. With one thread the ack can't
	// be read in between; with more it is lost, once in a while.
	runtime.GOMAXPROCS(1)

	if len(os.Args) == 3 && (os.Args[1] == "session" || os.Args[1] == "nacks") {
		os.Exit(session(os.Args[1], os.Args[2]))
	}
	if len(os.Args) < 2 {
		os.Args = append(os.Args, "")
	}
	if err := exchange(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "goensign:", err)
		os.Exit(1)
	}
}
