// An executor on mesos-go's executor packages, as they are: each task writes its own name to the file that its data
// names, once for every time it is run.
//
// What the agent has not acknowledged is told again with the next subscription, in any order: like the executor that
// comes with mesos-go it is kept in a map.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/backoff"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/mesos/mesos-go/api/v1/lib/executor/calls"
	"github.com/mesos/mesos-go/api/v1/lib/executor/config"
	"github.com/mesos/mesos-go/api/v1/lib/executor/events"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpexec"
)

const (
	answerMax      = 10 * time.Second
	resubscribeMin = 250 * time.Millisecond
	tellAgain      = 200 * time.Millisecond
	tasksWaiting   = 1000
	// A task takes long enough that others are under way whenever something is killed.
	taskTakes = 20 * time.Millisecond
)

var errShutdown = errors.New("the agent has asked this executor to end")

// unacknowledged is what the agent may not know yet; the loop of events and the worker share it.
type unacknowledged struct {
	sync.Mutex
	tasks   []mesos.TaskInfo
	updates map[string]executor.Call_Update
}

type program struct {
	unacknowledged
	config config.Config
	sender calls.Sender
	work   chan mesos.TaskInfo
}

func main() {
	settings, err := config.FromEnv()
	if err != nil {
		log.Fatal(err)
	}
	address := url.URL{Scheme: "http", Host: settings.AgentEndpoint, Path: "/api/v1/executor"}
	client := func() *httpcli.Client {
		return httpcli.New(
			httpcli.Endpoint(address.String()),
			httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeProtobuf]),
			httpcli.Do(httpcli.With(httpcli.Timeout(answerMax))),
		)
	}
	named := []executor.CallOpt{calls.Framework(settings.FrameworkID), calls.Executor(settings.ExecutorID)}
	one := &program{
		config:         settings,
		sender:         calls.SenderWith(httpexec.NewSender(client().Send), named...),
		unacknowledged: unacknowledged{updates: map[string]executor.Call_Update{}},
		work:           make(chan mesos.TaskInfo, tasksWaiting),
	}
	go one.run()
	one.serve(calls.SenderWith(httpexec.NewSender(client().Send, httpcli.Close(true)), named...))
}

// serve subscribes, again and again, until the agent says that it is over or has been away for too long.
func (one *program) serve(subscriber calls.Sender) {
	var again <-chan struct{}
	if one.config.Checkpoint {
		again = backoff.Notifier(resubscribeMin, one.config.SubscriptionBackoffMax*3/4, nil)
	}
	for heard := time.Now(); ; {
		subscribed, err := one.listen(subscriber)
		if err == errShutdown {
			return
		}
		if err != nil && err != io.EOF {
			log.Println(err)
		}
		if subscribed {
			heard = time.Now()
		}
		if !one.config.Checkpoint || time.Since(heard) > one.config.RecoveryTimeout {
			return
		}
		<-again
	}
}

// listen is one subscription; whether there was any, and how it ended.
func (one *program) listen(subscriber calls.Sender) (bool, error) {
	response, err := subscriber.Send(context.Background(), calls.NonStreaming(one.subscription()))
	if response != nil {
		defer response.Close()
	}
	if err != nil {
		return false, err
	}
	for handler := one.handler(); err == nil; {
		var event executor.Event
		if err = response.Decode(&event); err == nil {
			err = handler.HandleEvent(context.Background(), &event)
		}
	}
	return true, err
}

func (one *program) subscription() *executor.Call {
	one.Lock()
	defer one.Unlock()
	tasks := append([]mesos.TaskInfo(nil), one.tasks...)
	var updates []executor.Call_Update
	for _, update := range one.updates {
		updates = append(updates, update)
	}
	return calls.Subscribe(tasks, updates)
}

func (one *program) handler() events.Handler {
	return events.HandlerFuncs{
		executor.Event_LAUNCH: func(_ context.Context, event *executor.Event) error {
			one.Lock()
			one.tasks = append(one.tasks, event.Launch.Task)
			one.Unlock()
			one.work <- event.Launch.Task
			return nil
		},
		executor.Event_ACKNOWLEDGED: func(_ context.Context, event *executor.Event) error {
			one.acknowledged(event.Acknowledged.TaskID, event.Acknowledged.UUID)
			return nil
		},
		executor.Event_SHUTDOWN: func(context.Context, *executor.Event) error { return errShutdown },
		executor.Event_ERROR: func(_ context.Context, event *executor.Event) error {
			return errors.New(event.Error.Message)
		},
	}
}

func (one *program) acknowledged(task mesos.TaskID, uuid []byte) {
	one.Lock()
	defer one.Unlock()
	for i := range one.tasks {
		if one.tasks[i].TaskID == task {
			one.tasks = append(one.tasks[:i], one.tasks[i+1:]...)
			break
		}
	}
	delete(one.updates, string(uuid))
}

// run carries the tasks out, one after another.
func (one *program) run() {
	for task := range one.work {
		one.tell(task, mesos.TASK_RUNNING)
		end := mesos.TASK_FINISHED
		if err := write(task); err != nil {
			log.Println(err)
			end = mesos.TASK_FAILED
		}
		time.Sleep(taskTakes)
		one.tell(task, end)
	}
}

func write(task mesos.TaskInfo) error {
	file, err := os.OpenFile(string(task.Data), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err = file.WriteString(task.TaskID.Value + "\n"); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

func (one *program) tell(task mesos.TaskInfo, state mesos.TaskState) {
	uuid := newUUID()
	now := float64(time.Now().Unix())
	update := calls.Update(mesos.TaskStatus{
		TaskID:     task.TaskID,
		State:      &state,
		Source:     mesos.SOURCE_EXECUTOR.Enum(),
		ExecutorID: &mesos.ExecutorID{Value: one.config.ExecutorID},
		Timestamp:  &now,
		UUID:       uuid,
	})
	one.Lock()
	one.updates[string(uuid)] = *update.Update
	one.Unlock()
	for one.waits(uuid) {
		response, err := one.sender.Send(context.Background(), calls.NonStreaming(update))
		if response != nil {
			response.Close()
		}
		if err == nil {
			return
		}
		// A restarted agent hears of it by the next subscription, unless that was already under way.
		log.Println(err)
		time.Sleep(tellAgain)
	}
}

// newUUID draws 16 bytes and marks them as version 4 of RFC 4122, without which they are none.
func newUUID() []byte {
	uuid := make([]byte, 16)
	if _, err := rand.Read(uuid); err != nil {
		log.Fatal(err)
	}
	uuid[6], uuid[8] = uuid[6]&0x0f|0x40, uuid[8]&0x3f|0x80
	return uuid
}

// waits tells whether an update has not been acknowledged.
func (one *program) waits(uuid []byte) bool {
	one.Lock()
	defer one.Unlock()
	_, waits := one.updates[string(uuid)]
	return waits
}
