%% The work of `palaver bench runtime` for Erlang: the same as in palaver_engine.py, step by step.
%%
%% Started as `erl ... -run palaver_bench main FIGURE COUNT WIDTH WARM_UP`; prints one JSON object.
-module(palaver_bench).
-export([main/1]).
-define(WAVE, 100).  % as in results.py
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, start_child/2]).

main([Figure | Numbers]) ->
    logger:set_primary_config(level, none),  % crash reports cost time, and are not what is measured
    [Count, Width, WarmUp] = [list_to_integer(N) || N <- Numbers],
    Work = list_to_atom(Figure),
    %% In a process of its own: the one that runs this has a heap made large by the start.
    {_, Monitor} = spawn_monitor(fun() ->
        WarmUp > 0 andalso run(Work, WarmUp, min(Width, WarmUp)),
        print(run(Work, Count, Width))
    end),
    receive
        {'DOWN', Monitor, process, _, normal} -> halt(0);
        {'DOWN', Monitor, process, _, Reason} ->
            io:format(standard_error, "~0p~n", [Reason]),
            halt(1)
    end.

print(Result) ->
    Fields = [io_lib:format("\"~s\": ~w", [Name, Value]) || {Name, Value} <- Result],
    io:format("{~s}~n", [lists:join(", ", Fields)]).

%% -- the figures ------------------------------------------------------------------------------

run(spawn, Count, _) ->
    {Time, Pids} = timed(Count, fun() -> start_servers(Count) end),
    stop(Pids),
    Time;
run(spawn_process, Count, _) ->
    {Time, Pids} = timed(Count, fun() ->
        Spawned = [spawn(fun idle/0) || _ <- lists:seq(1, Count)],
        %% The run queue is a queue: when the last one answers, all have begun.
        Last = lists:last(Spawned),
        Last ! {self(), ping},
        receive {Last, pong} -> ok end,
        Spawned
    end),
    stop(Pids),
    Time;
run(bytes_per_process, Count, _) ->
    garbage_collect(),
    Before = anonymous_bytes(),
    TotalBefore = erlang:memory(total),
    Pids = start_servers(Count),
    Total = erlang:memory(total) - TotalBefore,
    Bytes = anonymous_bytes() - Before,
    stop(Pids),
    [{ops, Count}, {bytes, Bytes}, {counted_bytes, Total}];
run(cast, Count, _) ->
    {ok, Server} = gen_server:start_link(?MODULE, {counter, self(), Count}, []),
    {Time, ok} = timed(Count, fun() ->
        casts(Server, Count),
        receive {Server, done} -> ok end
    end),
    Count = gen_server:call(Server, count),
    stop([Server]),
    Time;
run(call, Count, _) ->
    {ok, Server} = gen_server:start_link(?MODULE, {counter, self(), 0}, []),
    {Time, ok} = timed(Count, fun() -> calls(Server, Count) end),
    Count = gen_server:call(Server, count),
    stop([Server]),
    Time;
run(ring, Count, Width) ->
    Members = [First | _] = ring(Width),
    gen_server:cast(lists:last(Members), {next, First}),
    {Time, ok} = timed(Count, fun() ->
        gen_server:cast(First, {hop, Count - 1}),
        receive done -> ok end
    end),
    stop(Members),
    Time;
run(fan_in, Count, Width) ->
    Each = min(?WAVE, Count div Width),
    Waves = Count div (Each * Width),
    Total = Waves * Each * Width,
    {ok, Server} = gen_server:start_link(?MODULE, {counter, self(), Each * Width}, []),
    Senders = [spawn_link(fun() -> sender(Server, Each) end) || _ <- lists:seq(1, Width)],
    {Time, ok} = timed(Total, fun() -> waves(Senders, Server, Waves) end),
    Total = gen_server:call(Server, count),
    stop([Server | Senders]),
    Time;
run(restart, Count, Width) ->
    Start = {gen_server, start_link, [?MODULE, {child, self()}, []]},
    Specs = [#{id => N, start => Start} || N <- lists:seq(1, Width)],
    restarts(Count, Width, {tree, #{strategy => one_for_one}, Specs}, fun(_) -> ok end);
run(restart_dynamic, Count, Width) ->
    Start = {?MODULE, start_child, [self()]},
    Tree = {tree, #{strategy => simple_one_for_one}, [#{id => child, start => Start}]},
    restarts(Count, Width, Tree, fun(Supervisor) ->
        [{ok, _} = supervisor:start_child(Supervisor, [N]) || N <- lists:seq(1, Width)]
    end).

%% Kill children one after the other, each when the one before is up again.
restarts(Count, Width, {tree, Flags, Specs}, Fill) ->
    %% The shortest period there is: a longer one would make OTP remember more restarts.
    Allowed = Flags#{intensity => 10000000, period => 1},
    {ok, Supervisor} = supervisor:start_link(?MODULE, {tree, Allowed, Specs}),
    Fill(Supervisor),
    [receive up -> ok end || _ <- lists:seq(1, Width)],
    Pids = lists:sort([Pid || {_, Pid, _, _} <- supervisor:which_children(Supervisor)]),
    Victims = lists:sublist(Pids, Count),
    {Time, ok} = timed(Count, fun() -> kill_each(Victims) end),
    [_, {active, Width} | _] = supervisor:count_children(Supervisor),
    unlink(Supervisor),
    exit(Supervisor, kill),
    Time.

kill_each([]) -> ok;
kill_each([Pid | Rest]) ->
    exit(Pid, kill),
    receive up -> kill_each(Rest) end.

%% -- the parts --------------------------------------------------------------------------------

start_servers(Count) ->
    [begin {ok, Pid} = gen_server:start_link(?MODULE, idle, []), Pid end
     || _ <- lists:seq(1, Count)].

start_child(Driver, _Number) ->
    gen_server:start_link(?MODULE, {child, Driver}, []).

idle() ->
    receive
        {From, ping} -> From ! {self(), pong}, idle();
        stop -> ok
    end.

casts(_, 0) -> ok;
casts(Server, N) -> gen_server:cast(Server, add), casts(Server, N - 1).

calls(_, 0) -> ok;
calls(Server, N) -> gen_server:call(Server, add), calls(Server, N - 1).

sender(Server, Each) ->
    receive go -> casts(Server, Each), sender(Server, Each) end.

waves(_, _, 0) -> ok;
waves(Senders, Server, Left) ->
    [Sender ! go || Sender <- Senders],
    receive {Server, done} -> waves(Senders, Server, Left - 1) end.

ring(Width) ->
    lists:foldl(
        fun(_, Made) ->
            Next = case Made of [] -> none; [Pid | _] -> Pid end,
            {ok, Member} = gen_server:start_link(?MODULE, {member, Next, self()}, []),
            [Member | Made]
        end,
        [], lists:seq(1, Width)).

stop(Pids) ->
    [begin unlink(Pid), exit(Pid, kill) end || Pid <- Pids],
    ok.

timed(Ops, Work) ->
    Before = cpu_ns(),
    Cpu = cpu_ns(),
    Reading = Cpu - Before,  % what it costs to ask
    Began = erlang:monotonic_time(nanosecond),
    Result = Work(),
    Ended = erlang:monotonic_time(nanosecond),
    Used = max(0, cpu_ns() - Cpu - Reading),
    {[{ops, Ops}, {wall_s, (Ended - Began) / 1.0e9}, {cpu_s, Used / 1.0e9}], Result}.

%% CPU time of all threads of the VM. `erlang:statistics(runtime)` may be some milliseconds behind.
cpu_ns() ->
    case file:list_dir("/proc/self/task") of
        {ok, Threads} -> lists:sum([thread_ns(Thread) || Thread <- Threads]);
        {error, _} -> element(1, erlang:statistics(runtime)) * 1000000
    end.

thread_ns(Thread) ->
    case file:read_file("/proc/self/task/" ++ Thread ++ "/schedstat") of
        {ok, Text} -> binary_to_integer(hd(binary:split(Text, <<" ">>)));
        {error, _} -> 0
    end.

%% Private memory of the VM's process as the kernel counts it; 0 where there is no /proc.
anonymous_bytes() ->
    case file:read_file("/proc/self/smaps_rollup") of
        {ok, Text} ->
            {match, [Kb]} = re:run(Text, "Anonymous: +([0-9]+) kB", [{capture, [1], list}]),
            list_to_integer(Kb) * 1024;
        {error, _} -> 0
    end.

%% -- the servers ------------------------------------------------------------------------------

init(idle) -> {ok, 0};
init({counter, Driver, Step}) -> {ok, {counter, Driver, Step, Step, 0}};
init({member, Next, Driver}) -> {ok, {member, Next, Driver}};
init({child, Driver}) -> Driver ! up, {ok, 0};
init({tree, Flags, Specs}) -> {ok, {Flags, Specs}}.

handle_call(add, _From, {counter, Driver, Step, Goal, N}) ->
    {reply, N + 1, {counter, Driver, Step, Goal, N + 1}};
handle_call(count, _From, {counter, _, _, _, N} = State) ->
    {reply, N, State}.

handle_cast(add, {counter, Driver, Step, Goal, N}) when N + 1 =:= Goal ->
    Driver ! {self(), done},
    {noreply, {counter, Driver, Step, Goal + Step, N + 1}};
handle_cast(add, {counter, Driver, Step, Goal, N}) ->
    {noreply, {counter, Driver, Step, Goal, N + 1}};
handle_cast({hop, 0}, {member, _, Driver} = State) ->
    Driver ! done,
    {noreply, State};
handle_cast({hop, N}, {member, Next, _} = State) ->
    gen_server:cast(Next, {hop, N - 1}),
    {noreply, State};
handle_cast({next, Next}, {member, _, Driver}) ->
    {noreply, {member, Next, Driver}}.

handle_info(_, State) -> {noreply, State}.
