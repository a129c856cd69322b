// A framework on mesos-go's scheduler packages, as they are: it runs tasks under one custom executor and starts
// another one in the place of each that was lost on its way.
//
//	scheduler MASTER COUNT EXECUTOR DIRECTORY
//
// It prints a line for each end that it hears of: the task, its state, its reason and message; and one that begins with
// "late" for a state that came after the end. Its exit status is 0 when every task, or one in its place, has ended.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/backoff"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/extras/scheduler/callrules"
	"github.com/mesos/mesos-go/api/v1/lib/extras/scheduler/controller"
	"github.com/mesos/mesos-go/api/v1/lib/extras/scheduler/eventrules"
	"github.com/mesos/mesos-go/api/v1/lib/extras/store"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	"github.com/mesos/mesos-go/api/v1/lib/resources"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/events"
)

const (
	executorID = "mesos-go"
	// Few, so that offers and launches go on while other processes are killed.
	tasksPerOffer   = 10
	refuse          = 200 * time.Millisecond
	reconcileEvery  = 2 * time.Second
	resubscribeMin  = 250 * time.Millisecond
	resubscribeMax  = time.Second
	answerMax       = 20 * time.Second
	failoverTimeout = 10 * time.Minute
)

// lost are the ends of tasks that never reached their executor, or whose executor was given up.
var lost = map[mesos.TaskState]bool{
	mesos.TASK_LOST: true, mesos.TASK_DROPPED: true, mesos.TASK_GONE: true, mesos.TASK_UNKNOWN: true,
}

// running are the states that are no ends.
var running = map[mesos.TaskState]bool{
	mesos.TASK_STAGING: true, mesos.TASK_STARTING: true, mesos.TASK_RUNNING: true, mesos.TASK_KILLING: true,
}

// A book of one run; the loop of events and the reconciling ticker share it.
type book struct {
	sync.Mutex
	left     []string
	open     map[string]bool
	launched map[string]string
}

type framework struct {
	*book
	caller    calls.Caller
	id        store.Singleton
	executor  mesos.ExecutorInfo
	directory string
	finish    context.CancelFunc
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: scheduler MASTER COUNT EXECUTOR DIRECTORY")
	}
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	ctx, finish := context.WithCancel(context.Background())
	id := store.NewInMemorySingleton()
	one := &framework{
		book:      newBook(count),
		caller:    caller(os.Args[1], id),
		id:        id,
		executor:  executor(os.Args[3]),
		directory: os.Args[4],
		finish:    finish,
	}
	go one.reconcile(ctx)
	err = controller.Run(ctx, info(), one.caller,
		controller.WithEventHandler(one.handler()),
		controller.WithFrameworkID(store.GetIgnoreErrors(id)),
		controller.WithRegistrationTokens(backoff.Notifier(resubscribeMin, resubscribeMax, ctx.Done())),
		controller.WithSubscriptionTerminated(func(err error) {
			if err != nil && err != io.EOF {
				log.Println("the subscription has ended:", err)
			}
		}),
	)
	if left := len(one.unfinished()); left > 0 {
		log.Fatalf("%d tasks have not ended: %v", left, err)
	}
}

func newBook(count int) *book {
	one := &book{open: map[string]bool{}, launched: map[string]string{}}
	for number := 0; number < count; number++ {
		name := fmt.Sprintf("task-%d", number)
		one.left = append(one.left, name)
		one.open[name] = true
	}
	return one
}

func caller(master string, id store.Singleton) calls.Caller {
	client := httpcli.New(
		httpcli.Endpoint("http://"+master+"/api/v1/scheduler"),
		httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeProtobuf]),
		httpcli.Do(httpcli.With(httpcli.Timeout(answerMax))),
	)
	return callrules.New(callrules.WithFrameworkID(store.GetIgnoreErrors(id))).Caller(httpsched.NewCaller(client))
}

func info() *mesos.FrameworkInfo {
	checkpoint, timeout := true, failoverTimeout.Seconds()
	return &mesos.FrameworkInfo{User: "root", Name: "mesos-go", Checkpoint: &checkpoint, FailoverTimeout: &timeout}
}

func executor(program string) mesos.ExecutorInfo {
	shell := false
	return mesos.ExecutorInfo{
		Type:       mesos.ExecutorInfo_CUSTOM,
		ExecutorID: mesos.ExecutorID{Value: executorID},
		Command:    &mesos.CommandInfo{Value: &program, Shell: &shell},
		Resources:  wants(0.1, 32),
	}
}

func wants(cpus, mem float64) mesos.Resources {
	return mesos.Resources{resources.NewCPUs(cpus).Resource, resources.NewMemory(mem).Resource}
}

func (one *framework) handler() events.Handler {
	return eventrules.New(controller.LiftErrors().DropOnError()).Handle(events.Handlers{
		scheduler.Event_SUBSCRIBED: eventrules.New(controller.TrackSubscription(one.id, failoverTimeout)),
		scheduler.Event_OFFERS:     events.HandlerFunc(one.offers),
		scheduler.Event_UPDATE:     controller.AckStatusUpdates(one.caller).AndThen().HandleF(one.update),
	})
}

func (one *framework) offers(ctx context.Context, event *scheduler.Event) error {
	for _, offer := range event.GetOffers().GetOffers() {
		tasks := one.take(offer)
		accept := calls.Accept(calls.OfferOperations{calls.OpLaunch(tasks...)}.WithOffers(offer.ID))
		if err := calls.CallNoData(ctx, one.caller, accept.With(calls.RefuseSeconds(refuse))); err != nil {
			// Whether they were launched nobody knows: reconciliation tells.
			log.Println("accepting an offer:", err)
		}
	}
	return nil
}

// take chooses the tasks that an offer has room for.
func (one *framework) take(offer mesos.Offer) (tasks []mesos.TaskInfo) {
	one.Lock()
	defer one.Unlock()
	room := mesos.Resources(offer.Resources)
	if len(offer.ExecutorIDs) == 0 {
		if !resources.ContainsAll(room, one.executor.Resources) {
			return nil
		}
		room = room.Minus(one.executor.Resources...)
	}
	for each := wants(0.05, 1); len(one.left) > 0 && len(tasks) < tasksPerOffer; {
		if !resources.ContainsAll(room, each) {
			break
		}
		room = room.Minus(each...)
		name := one.left[0]
		one.left = one.left[1:]
		one.launched[name] = offer.AgentID.Value
		tasks = append(tasks, mesos.TaskInfo{
			TaskID:    mesos.TaskID{Value: name},
			Name:      name,
			AgentID:   offer.AgentID,
			Executor:  &one.executor,
			Resources: each,
			Data:      []byte(filepath.Join(one.directory, name)),
		})
	}
	return tasks
}

func (one *framework) update(ctx context.Context, event *scheduler.Event) error {
	status := event.GetUpdate().GetStatus()
	name := status.TaskID.Value
	if running[status.GetState()] {
		if !one.unfinished()[name] {
			fmt.Println("late:", name, status.GetState(), "after its end")
		}
		return nil
	}
	if status.GetReason() == mesos.REASON_RECONCILIATION && !one.unfinished()[name] {
		// It was asked for while the end was on its way, and the master has forgotten the task since.
		return nil
	}
	message := strings.ReplaceAll(status.GetMessage(), "\n", " ")
	fmt.Println(name, status.GetState(), status.GetReason(), message)
	again := one.ended(name, lost[status.GetState()])
	if again {
		if err := calls.CallNoData(ctx, one.caller, calls.Revive()); err != nil {
			log.Println("reviving offers:", err)
		}
	}
	if len(one.unfinished()) == 0 {
		if err := calls.CallNoData(ctx, one.caller, &scheduler.Call{Type: scheduler.Call_TEARDOWN}); err != nil {
			log.Println("tearing down:", err)
		}
		one.finish()
	}
	return nil
}

// ended strikes a task out and, if it was lost, puts another one in its place; whether it did.
func (one *framework) ended(name string, again bool) bool {
	one.Lock()
	defer one.Unlock()
	if !one.open[name] {
		return false
	}
	delete(one.open, name)
	delete(one.launched, name)
	if again {
		one.left = append(one.left, name+"-again")
		one.open[name+"-again"] = true
	}
	return again
}

func (one *framework) unfinished() map[string]bool {
	one.Lock()
	defer one.Unlock()
	names := map[string]bool{}
	for name := range one.open {
		names[name] = true
	}
	return names
}

// reconcile asks for every task that was launched and has not ended: a call may be lost with the master it went to.
func (one *framework) reconcile(ctx context.Context) {
	for ticker := time.NewTicker(reconcileEvery); ; {
		select {
		case <-ctx.Done():
			ticker.Stop()
			return
		case <-ticker.C:
		}
		one.Lock()
		asked := map[string]string{}
		for name, agent := range one.launched {
			asked[name] = agent
		}
		one.Unlock()
		if len(asked) == 0 {
			continue
		}
		if err := calls.CallNoData(ctx, one.caller, calls.Reconcile(calls.ReconcileTasks(asked))); err != nil {
			log.Println("reconciling:", err)
		}
	}
}
