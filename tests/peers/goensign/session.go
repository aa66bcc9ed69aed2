package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	ensign "github.com/rotationalio/go-ensign"
	api "github.com/rotationalio/go-ensign/api/v1beta1"
	mimetype "github.com/rotationalio/go-ensign/mimetype/v1beta1"
	"github.com/rotationalio/go-ensign/topics"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const count = 25 // events of the session

// held is one session: the lines that it prints, and what its parts hand on.
type held struct {
	label        string
	done, failed int
	client       *ensign.Client
	topic        string
	listed       *api.Topic
	sub          *ensign.Subscription
	sent         []*ensign.Event
}

func soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), timeout)
}

func (h *held) report(good bool, text string, seen ...any) {
	h.done++
	verdict := "ok"
	if !good {
		h.failed++
		verdict = "not ok"
	}
	fmt.Printf("%s %d - go-ensign %s (%s)\n", verdict, h.done, text, h.label)
	if !good {
		fmt.Printf("# seen: %.1000s\n", fmt.Sprintf("%+v", seen))
	}
}

// refused reports whether the error has that code and those words.
func (h *held) refused(text string, err error, code codes.Code, words string) {
	h.report(err != nil && status.Code(err) == code && strings.Contains(err.Error(), words), text, err)
}

func id(b []byte) string {
	var x ulid.ULID
	if err := x.UnmarshalBinary(b); err != nil {
		return err.Error()
	}
	return x.String()
}

func made(data, kind string, metadata ensign.Metadata) *ensign.Event {
	return &ensign.Event{
		Data: []byte(data), Mimetype: mimetype.ApplicationJSON, Metadata: metadata, Created: time.Now(),
		Type: &api.Type{Name: kind, MajorVersion: 1, MinorVersion: 2, PatchVersion: 3},
	}
}

func lines(events []*ensign.Event) []string {
	text := make([]string, len(events))
	for i, e := range events {
		text[i] = toLine(e)
	}
	return text
}

func same(a, b []*ensign.Event) bool { return reflect.DeepEqual(lines(a), lines(b)) }

// ---------------------------------------------------------------- credentials

func (h *held) credentials() {
	path := filepath.Join(os.TempDir(), h.topic+".json")
	key := map[string]string{
		"ClientID": os.Getenv(ensign.EnvClientID), "ClientSecret": os.Getenv(ensign.EnvClientSecret),
	}
	text, _ := json.Marshal(key)
	err := os.WriteFile(path, text, 0o600)
	defer os.Remove(path)
	if err == nil {
		_, err = ensign.New(ensign.WithLoadCredentials(path))
	}
	h.report(err == nil, "takes its key from a JSON file", err)

	_, err = ensign.New(ensign.WithCredentials(os.Getenv(ensign.EnvClientID), "wrong"))
	h.report(err != nil && strings.Contains(err.Error(), "403"), "is refused with a wrong secret", err)
	h.withoutKey()
}

func (h *held) withoutKey() {
	ctx, cancel := soon()
	defer cancel()
	client, err := ensign.New(ensign.WithAuthenticator("", true))
	if err != nil {
		h.report(false, "comes without a key", err)
		return
	}
	state, err := client.Status(ctx)
	good := err == nil && state.Status == api.ServiceState_HEALTHY
	h.report(good, "asks for the status without a key", state, err)
	_, err = client.ListTopics(ctx)
	h.refused("is refused anything else without a key", err, codes.Unauthenticated, "")
}

// ---------------------------------------------------------------- topics

func (h *held) create() {
	ctx, cancel := soon()
	defer cancel()
	cache := topics.NewCache(h.client)
	first, err := cache.Ensure(h.topic)
	cache.Clear()
	again, err2 := cache.Ensure(h.topic)
	err = errors.Join(err, err2)
	good := err == nil && len(first) == 26 && first == again
	h.report(good, "ensures that a topic exists, twice", first, again, err)
	_, err = h.client.CreateTopic(ctx, h.topic)
	h.refused("is refused to create it again", err, codes.AlreadyExists, "")
	_, err = h.client.CreateTopic(ctx, "no name")
	h.refused("is refused a name that is none", err, codes.InvalidArgument, "topic name is invalid")
	there, err := h.client.TopicExists(ctx, h.topic)
	absent, err2 := h.client.TopicExists(ctx, h.topic+"-absent")
	h.report(err == nil && err2 == nil && there && !absent, "asks whether it exists, and one that does not",
		there, absent, err, err2)
	h.list(first)
}

func (h *held) list(wanted string) {
	ctx, cancel := soon()
	defer cancel()
	all, err := h.client.ListTopics(ctx)
	for _, t := range all {
		if t.Name == h.topic {
			h.listed = t
		}
	}
	t := h.listed
	good := err == nil && t != nil && id(t.Id) == wanted && t.Status == api.TopicState_READY && !t.Readonly &&
		time.Since(t.Created.AsTime()) < 10*time.Minute && !t.Modified.AsTime().Before(t.Created.AsTime())
	h.report(good, "finds it in the list: id, state, times", t, err)
}

func (h *held) find() {
	ctx, cancel := soon()
	defer cancel()
	found, err := h.client.TopicID(ctx, h.topic)
	h.report(err == nil && found == id(h.listed.Id), "finds its id by the hash of its name", found, err)
	_, err = h.client.TopicID(ctx, h.topic+"-absent")
	h.report(errors.Is(err, ensign.ErrTopicNameNotFound), "is told where there is no such name", err)

	got, err := h.client.EnsignClient().RetrieveTopic(ctx, &api.Topic{Id: h.listed.Id})
	good := err == nil && got.Name == h.topic && id(got.Id) == found &&
		id(got.ProjectId) == id(h.listed.ProjectId) &&
		got.Deduplication.GetStrategy() == api.Deduplication_NONE
	h.report(good, "retrieves it by its id", got, err)
	none := ulid.Make()
	_, err = h.client.EnsignClient().RetrieveTopic(ctx, &api.Topic{Id: none[:]})
	h.refused("is refused an id that is none", err, codes.NotFound, "topic not found")
	state, err := h.client.SetTopicDeduplicationPolicy(ctx, found, api.Deduplication_NONE,
		api.Deduplication_OFFSET_EARLIEST, nil, false)
	h.report(err == nil && state == api.TopicState_READY, "sets the policy that it has: READY", state, err)
}

// ---------------------------------------------------------------- publish and subscribe

// take waits for that many events, greetings not counted, and acks each.
func (h *held) take(wanted int) (got []*ensign.Event, err error) {
	end := time.After(timeout)
	for len(got) < wanted {
		select {
		case e := <-h.sub.C:
			if string(e.Data) == greeting {
				continue
			}
			if _, err = e.Ack(); err != nil {
				return got, err
			}
			got = append(got, e)
		case <-end:
			return got, nil
		}
	}
	return got, nil
}

func (h *held) unknownTopic() {
	err := h.client.Publish(h.topic+"-absent", made("x", "Count", nil))
	good := err != nil && strings.Contains(err.Error(), "topic")
	h.report(good, "is refused to publish to a topic that does not exist", err)
	e := made("x", "Count", nil)
	err = h.client.Publish(ulid.Make().String(), e)
	nacked, nack := false, error(nil)
	for end := time.Now().Add(timeout); err == nil && !nacked && time.Now().Before(end); time.Sleep(tick) {
		nacked, nack = e.Nacked()
	}
	var why *ensign.NackError
	good = nacked && errors.As(nack, &why) && why.Code == api.Nack_TOPIC_UNKNOWN &&
		why.Message == "topic unknown or unhandled"
	h.report(good, "has the nack of an id that is no topic", err, nacked, nack)
	_, err = h.client.Subscribe(h.topic + "-absent")
	h.refused("is refused to subscribe to one", err, codes.FailedPrecondition, "no topics available")
}

func (h *held) subscribe() {
	var err error
	greeted := false
	if h.sub, err = h.client.Subscribe(h.topic); err != nil {
		h.report(false, "subscribes", err)
		return
	}
	for end := time.Now().Add(timeout); err == nil && !greeted && time.Now().Before(end); {
		e := made(greeting, "Greeting", nil)
		if err = h.client.Publish(h.topic, e); err == nil {
			err = acked([]*ensign.Event{e})
		}
		select {
		case got := <-h.sub.C:
			greeted = string(got.Data) == greeting
		case <-time.After(2 * time.Second):
		}
	}
	h.report(greeted, "subscribes", err)
}

func (h *held) publish() {
	h.sent = make([]*ensign.Event, count)
	for i := range h.sent {
		pairs := ensign.Metadata{"n": fmt.Sprint(i), "of": "session"}
		h.sent[i] = made(fmt.Sprintf(`{"n": %d}`, i), "Count", pairs)
	}
	err := h.client.Publish(h.topic, h.sent...)
	if err == nil {
		err = acked(h.sent)
	}
	good := err == nil
	for _, e := range h.sent {
		good = good && time.Since(e.Committed()) < 10*time.Minute
	}
	h.report(good, fmt.Sprintf("publishes %d events, each has its ack", count), err)
}

func (h *held) events() {
	h.publish()
	got, err := h.take(count)
	h.report(err == nil && same(got, h.sent), "receives them, in order", len(got), err)
	ascending, last := true, ""
	for _, e := range got {
		ascending = ascending && len(e.ID()) == 16 && e.ID() > last && e.TopicID() == id(h.listed.Id) &&
			!e.Committed().IsZero() && e.LocalID() == nil
		last = e.ID()
	}
	h.report(ascending && len(got) == count, "sees ids that ascend, the topic's id, commit times", got)
	good := len(got) == count
	for _, e := range got {
		yes, err := e.Acked()
		good = good && yes && err == nil
	}
	h.report(good, "acks them", got)
	h.late()
}

func (h *held) late() {
	e := made("not this one", "Late", nil)
	err := h.client.Publish(h.topic, e)
	nacked := false
	select {
	case got := <-h.sub.C:
		nacked, err = got.Nack(api.Nack_UNPROCESSED)
	case <-time.After(timeout):
	}
	after := made("after the acks", "Late", nil)
	err2 := h.client.Publish(h.topic, after)
	got, err3 := h.take(1)
	err = errors.Join(err, err2, err3, acked([]*ensign.Event{e, after}))
	good := err == nil && nacked && same(got, []*ensign.Event{after})
	h.report(good, "nacks one, and goes on with both streams", nacked, got, err)
	h.sent = append(h.sent, e, after)
}

// ---------------------------------------------------------------- queries

func (h *held) rows(query *api.Query) ([]*ensign.Event, error) {
	ctx, cancel := soon()
	defer cancel()
	cursor, err := h.client.EnSQL(ctx, query)
	if err != nil {
		return nil, err
	}
	return cursor.FetchAll()
}

func (h *held) queries() {
	ctx, cancel := soon()
	defer cancel()
	all, err := h.rows(&api.Query{Query: "SELECT * FROM " + h.topic})
	hello := len(all) - len(h.sent) // greetings come first
	sql := fmt.Sprintf("SELECT * FROM %s OFFSET %d", h.topic, hello)
	cursor, err2 := h.client.EnSQL(ctx, &api.Query{Query: sql})
	if err != nil || err2 != nil {
		h.report(false, "queries", err, err2)
		return
	}
	one, err := cursor.FetchOne()
	h.report(err == nil && hello > 0 && same([]*ensign.Event{one}, h.sent[:1]) && len(one.ID()) == 16,
		"queries, fetches one", one, err)
	many, err := cursor.FetchMany(7)
	h.report(err == nil && same(many, h.sent[1:8]), "fetches many", many, err)
	rest, err := cursor.FetchAll()
	h.report(err == nil && same(rest, h.sent[8:]), "fetches all that are left", len(rest), err)
	_, err = cursor.FetchOne()
	h.report(errors.Is(err, ensign.ErrCursorClosed), "fetches nothing after the last", err)
	h.moreQueries(sql)
}

func (h *held) moreQueries(sql string) {
	ctx, cancel := soon()
	defer cancel()
	some, err := h.rows(&api.Query{Query: sql + " LIMIT 3"})
	h.report(err == nil && same(some, h.sent[:3]), "queries with LIMIT and OFFSET", some, err)
	cursor, err := h.client.EnSQL(ctx, &api.Query{Query: sql})
	if err == nil {
		err = cursor.Close()
	}
	h.report(err == nil, "closes a cursor that has more", err)
	params := []*api.Parameter{
		{Name: "b", Value: &api.Parameter_B{B: true}}, {Name: "i", Value: &api.Parameter_I{I: -5}},
		{Name: "d", Value: &api.Parameter_D{D: 0.5}}, {Name: "y", Value: &api.Parameter_Y{Y: []byte{0}}},
		{Name: "s", Value: &api.Parameter_S{S: "text"}},
	}
	got, err := h.rows(&api.Query{Query: sql, Params: params, IncludeDuplicates: true})
	good := err == nil && same(got, h.sent)
	h.report(good, "sends parameters of each kind, and asks for duplicates", len(got), err)
	h.badQueries()
}

func (h *held) badQueries() {
	ctx, cancel := soon()
	defer cancel()
	_, err := h.rows(&api.Query{Query: "SELECT * FROM " + h.topic + " OFFSET 100000"})
	h.report(errors.Is(err, ensign.ErrNoRows), "is told of no rows", err)
	_, err = h.rows(&api.Query{Query: "SELECT a b FROM " + h.topic})
	h.refused("is told of bad syntax, in the server's words", err, codes.InvalidArgument,
		`syntax error at position 9 near "b": invalid select fields statement`)
	_, err = h.rows(&api.Query{Query: "SELECT * FROM " + h.topic + "-absent"})
	h.refused("is refused a query of a topic that does not exist", err, codes.InvalidArgument,
		"unknown topic in query")
	plan, err := h.client.Explain(ctx, &api.Query{Query: "SELECT * FROM " + h.topic})
	good := err == nil && plan != nil || status.Code(err) == codes.Unimplemented // the service has none yet
	h.report(good, "asks for a query's plan", plan, err)
}

// ---------------------------------------------------------------- info, status, the end

func (h *held) info() {
	ctx, cancel := soon()
	defer cancel()
	project, err := h.client.Info(ctx)
	found := false
	for _, t := range project.GetTopics() {
		found = found || id(t.TopicId) == id(h.listed.Id)
	}
	h.report(err == nil && found && id(project.ProjectId) == id(h.listed.ProjectId) &&
		project.NumTopics == uint64(len(project.Topics)), "asks for the project's info", project, err)
	one, err := h.client.TopicInfo(ctx, ulid.ULID(h.listed.Id))
	h.report(err == nil && id(one.TopicId) == id(h.listed.Id) && id(one.ProjectId) == id(h.listed.ProjectId),
		"asks for one topic's info", one, err)
	_, err = h.client.TopicInfo(ctx, ulid.Make())
	h.report(errors.Is(err, ensign.ErrTopicInfoNotFound), "is told where there is no such topic's info", err)
	_, err = h.client.EnsignClient().Info(ctx, &api.InfoRequest{Topics: [][]byte{[]byte("no id")}})
	h.refused("is refused the info of what is no id", err, codes.InvalidArgument,
		"could not parse topic id in info request filter")
	state, err := h.client.Status(ctx)
	h.report(err == nil && state.Status == api.ServiceState_HEALTHY && state.Version != "" &&
		state.Uptime.AsDuration() >= 0 && state.NotBefore.AsTime().Before(state.NotAfter.AsTime()),
		"asks for the status", state, err)
}

func (h *held) archive() {
	ctx, cancel := soon()
	defer cancel()
	state, err := h.client.ArchiveTopic(ctx, id(h.listed.Id))
	h.report(err == nil && state == api.TopicState_READONLY, "archives the topic", state, err)
	got, err := h.client.EnsignClient().RetrieveTopic(ctx, &api.Topic{Id: h.listed.Id})
	good := err == nil && got.Readonly && got.Status == api.TopicState_READY
	h.report(good, "retrieves it as read-only", got, err)
	project, err := h.client.Info(ctx, id(h.listed.Id))
	good = err == nil && project.NumTopics == 1 && project.NumReadonlyTopics == 1
	h.report(good, "finds it read-only in the info", project, err)
	_, err = h.client.SetTopicDeduplicationPolicy(ctx, id(h.listed.Id), api.Deduplication_STRICT,
		api.Deduplication_OFFSET_EARLIEST, nil, false)
	h.refused("is refused another policy for it", err, codes.FailedPrecondition,
		"cannot change policies of an archived topic")
}

func (h *held) destroy() {
	ctx, cancel := soon()
	defer cancel()
	state, err := h.client.DestroyTopic(ctx, id(h.listed.Id))
	h.report(err == nil && state == api.TopicState_DELETING, "destroys it: DELETING", state, err)
	there := true
	for there && err == nil && ctx.Err() == nil {
		time.Sleep(tick)
		there, err = h.client.TopicExists(ctx, h.topic)
	}
	h.report(err == nil && !there, "finds it gone", there, err)
	_, err = h.client.DestroyTopic(ctx, id(h.listed.Id))
	h.refused("is told so the next time", err, codes.NotFound, "topic not found")
}

// close comes last: go-ensign goes on to look after what it has closed, and panics over it after a while.
func (h *held) close() {
	err := h.sub.Close()
	h.report(errors.Join(err, h.client.Close()) == nil, "closes", err)
}

// ---------------------------------------------------------------- nacks

// answered waits for an ack or a nack; nil is an ack.
func answered(e *ensign.Event) error {
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(tick) {
		if yes, _ := e.Acked(); yes {
			return nil
		}
		if yes, err := e.Nacked(); yes {
			return err
		}
	}
	return errors.New("neither ack nor nack")
}

func (h *held) eachThird() {
	ctx, cancel := soon()
	defer cancel()
	_, err := h.client.CreateTopic(ctx, h.topic)
	all := make([]*ensign.Event, 9)
	for i := range all {
		all[i] = made(fmt.Sprint(i), "Count", nil)
	}
	err = errors.Join(err, h.client.Publish(h.topic, all...))
	good := err == nil
	for i, e := range all {
		var why *ensign.NackError
		nack := answered(e)
		if i%3 != 2 {
			good = good && nack == nil
			h.sent = append(h.sent, e)
			continue
		}
		good = good && errors.As(nack, &why) && why.Code == api.Nack_PERMISSION_DENIED &&
			why.Message == "not authorized to perform this action"
		err = errors.Join(err, nack)
	}
	h.report(good, "has each third event's nack: code, words", err)
	stored, err := h.rows(&api.Query{Query: "SELECT * FROM " + h.topic})
	h.report(err == nil && same(stored, h.sent), "finds stored what was acked", len(stored), err)
}

// ---------------------------------------------------------------- the whole

func (h *held) whole() {
	h.create()
	if h.listed == nil {
		return
	}
	h.find()
	h.credentials()
	h.unknownTopic()
	h.subscribe()
	if h.sub == nil {
		return
	}
	h.events()
	h.queries()
	h.info()
	h.archive()
	h.destroy()
	h.close()
}

// session returns the exit status: 0 only if all went well.
func session(what, label string) int {
	h := &held{label: label, topic: fmt.Sprintf("go-%d-%d", os.Getpid(), time.Now().Unix())}
	var err error
	if h.client, err = ensign.New(); err != nil {
		h.report(false, "connects", err)
		return 1
	}
	if what == "nacks" {
		h.eachThird()
	} else {
		h.whole()
	}
	if h.failed > 0 {
		return 1
	}
	return 0
}
