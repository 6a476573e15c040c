%% The processes of a program: plain ones, gen_servers and supervisors, and what they do when told.
-module(palaver_actor).
-behaviour(gen_server).

-export([spawn_root/2, start_child/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-import(palaver_world, [bind/2, jitter/0, latest/1, log/1, name_of/1, next/1, reason/1]).

%% A process description is {Kind, Trap, Plan, Name, Script}: plain | server | {sup, Flags, Specs};
%% whether it traps exits; what becomes of its first, second, ... start (`ok` beyond the list); the
%% name it registers, or none; what a plain one does first.

spawn_root(Label, Desc) ->
    Id = next(Label),
    bind(Id, start_plain(Id, Desc, [])).

start_plain(Id, Desc, Options) ->
    spawn_opt(fun() -> plain(Id, Desc) end, [priority(Id) | Options]).

priority(Id) -> {priority, palaver_world:priority(Id)}.

%% -- plain processes ---------------------------------------------------------------------------

plain({_, Nth} = Id, {_, Trap, Plan, _, Script}) ->
    palaver_world:enter(Id),
    process_flag(trap_exit, Trap),
    log(started),
    case planned(Nth, Plan) of
        {exit, Reason} -> exit(Reason);
        ok -> ok
    end,
    after_run(run(Script)),
    plain_loop().

plain_loop() ->
    receive
        {'$gen_call', From, {Asker, Request}} ->
            log({asked, Asker, reason(Request)}),
            hold(From);
        Message -> after_run(handle(Message))
    end,
    plain_loop().

after_run(go) -> ok;
after_run({stop, Reason}) -> exit(Reason).

planned(Nth, Plan) when Nth =< length(Plan) -> lists:nth(Nth, Plan);
planned(_, _) -> ok.

%% -- servers and supervisors -------------------------------------------------------------------

start_child(Label, {plain, _, _, _, _} = Desc) ->
    Id = next(Label),
    Pid = start_plain(Id, Desc, [link]),
    bind(Id, Pid),
    {ok, Pid};
start_child(Label, {{sup, _, _}, _, _, none, _} = Desc) ->
    supervisor:start_link(?MODULE, {Label, Desc});
start_child(Label, {{sup, _, _}, _, _, Name, _} = Desc) ->
    supervisor:start_link({local, Name}, ?MODULE, {Label, Desc});
start_child(Label, {server, _, _, none, _} = Desc) ->
    gen_server:start_link(?MODULE, {Label, Desc}, [{spawn_opt, [priority(palaver_world:upcoming(Label))]}]);
start_child(Label, {server, _, _, Name, _} = Desc) ->
    Options = [{spawn_opt, [priority(palaver_world:upcoming(Label))]}],
    gen_server:start_link({local, Name}, ?MODULE, {Label, Desc}, Options).

init({Label, {{sup, {Strategy, Intensity, Auto}, Specs}, _, _, _, _}}) ->
    Id = next(Label),
    bind(Id, self()),
    palaver_world:enter(Id),
    palaver_world:note(supervisor, self()),
    log(started),
    Flags = #{strategy => Strategy, intensity => Intensity, period => 3600, auto_shutdown => Auto},
    {ok, {Flags, [spec(Strategy, Spec) || Spec <- Specs]}};
init({Label, {server, Trap, Plan, _, _}}) ->
    {_, Nth} = Id = next(Label),
    bind(Id, self()),
    palaver_world:enter(Id),
    process_flag(trap_exit, Trap),
    log(started),
    case planned(Nth, Plan) of
        ok -> {ok, none};
        ignore -> ignore;
        {stop, Reason} -> {stop, Reason};
        {exit, Reason} -> exit(Reason);
        error -> error(boom)
    end.

spec(simple_one_for_one, {_, Restart, Shutdown, _, Type}) ->
    #{id => any, start => {?MODULE, start_child, []}, restart => Restart, shutdown => Shutdown,
      type => Type};
spec(_, {Label, Restart, Shutdown, Significant, Desc}) ->
    #{id => Label, start => {?MODULE, start_child, [Label, Desc]}, restart => Restart,
      shutdown => Shutdown, significant => Significant, type => type(Desc)}.

type({{sup, _, _}, _, _, _, _}) -> supervisor;
type(_) -> worker.

handle_call({Asker, Request}, From, State) ->
    log({asked, Asker, reason(Request)}),
    case Request of
        {echo, Value} -> {reply, Value, State};
        {stop, Reason, Value} -> {stop, Reason, Value, State};
        {stop, Reason} -> {stop, Reason, State};
        error -> error(boom);
        hold -> hold(From), {noreply, State}
    end.

handle_cast(Message, State) ->
    log({cast, Message}),
    {noreply, State}.

handle_info(Message, State) ->
    case handle(Message) of
        go -> {noreply, State};
        {stop, Reason} -> {stop, Reason, State}
    end.

terminate(Reason, _) -> log({terminate, reason(Reason)}).

%% -- what comes in -----------------------------------------------------------------------------

handle({do, Instructions}) -> run(Instructions);
handle({message, From, Value}) -> log({message, From, Value}), go;
handle({'EXIT', Pid, Reason}) ->
    case erase({failed, Pid}) of
        true -> go;  % a difference that is meant, `failed-start-signal`
        undefined -> log({exit, name_of(Pid), reason(Reason)}), go
    end;
handle({'DOWN', Ref, process, Who, Reason}) ->
    Down = {down, get({ref, Ref}), watched(Who), reason(Reason)},
    log(Down),
    go.

watched(Pid) when is_pid(Pid) -> name_of(Pid);
watched({_Name, _Node}) -> by_name.

hold(From) -> put(held, held() ++ [From]).

held() ->
    case get(held) of
        undefined -> [];
        Held -> Held
    end.

%% -- what it does ------------------------------------------------------------------------------

run([]) -> go;
run([Instruction | Rest]) ->
    jitter(),
    case exec(Instruction) of
        {stop, Reason} -> {stop, Reason};
        _ -> run(Rest)
    end.

exec(return) -> {stop, normal};
exec({stop, Reason}) -> {stop, Reason};
exec({exit, Reason}) -> exit(Reason);
exec(error) -> error(boom);
exec({trap, Trap}) -> process_flag(trap_exit, Trap);
exec({spawn, Label, Desc}) -> spawned(Label, Desc, []);
exec({spawn_link, Label, Desc}) -> spawned(Label, Desc, [link]);
exec({spawn_monitor, Monitor, Label, Desc}) ->
    Id = next(Label),
    {Pid, Ref} = start_plain(Id, Desc, [monitor]),
    bind(Id, Pid),
    watch(Monitor, Ref);
exec({start_link, Label, Desc}) -> start_link(Label, Desc);
exec({register, Name}) ->
    Free = process_info(self(), registered_name) =:= [],
    log({register, Name, Free andalso attempt(fun() -> register(Name, self()) end)});
exec({unregister, Name}) ->
    Mine = whereis(Name) =:= self(),
    log({unregister, Name, Mine andalso unregister(Name)});
exec({whereis, Name}) ->
    log({whereis, Name, case whereis(Name) of undefined -> none; Pid -> name_of(Pid) end});
exec({send_name, Name, Value}) ->
    attempt(fun() -> Name ! {message, palaver_world:me(), Value} end);
exec({monitor_name, Monitor, Name}) -> watch(Monitor, monitor(process, Name));
exec({call_name, Name, Request}) -> call(Name, Request);
exec({demonitor, Monitor}) -> demonitored(Monitor, []);
exec({demonitor_flush, Monitor}) -> demonitored(Monitor, [flush]);
exec({alias, Alias}) -> named(Alias, alias([explicit_unalias]));
exec({alias_once, Alias}) -> named(Alias, alias([reply]));
exec({unalias, Alias}) ->
    log({unalias, Alias, case get({alias, Alias}) of undefined -> unbound; Ref -> unalias(Ref) end});
exec({send_alias, Alias, Value}) ->
    case palaver_world:alias(Alias) of
        unbound -> log({unbound, Alias});
        Ref -> Ref ! {message, palaver_world:me(), Value}
    end;
exec({answer, Value}) ->
    [gen_server:reply(From, Value) || From <- held()],
    put(held, []);
exec(Instruction) ->
    Label = element(2, Instruction),
    case latest(Label) of
        unbound -> log({unbound, Label});
        Pid -> exec(Instruction, Pid)
    end.

exec({link, _}, Pid) ->
    try link(Pid)
    catch error:noproc -> jitter(), exit(self(), noproc)  % a difference that is meant, `link-raises`
    end;
exec({unlink, _}, Pid) -> unlink(Pid);
exec({exit, _, Reason}, Pid) -> exit(Pid, Reason);
exec({send, _, Value}, Pid) -> Pid ! {message, palaver_world:me(), Value};
exec({monitor, _, Monitor}, Pid) -> watch(Monitor, monitor(process, Pid));
exec({monitor_alias, _, _, _}, Pid) when Pid =:= self() ->
    ok;  % a difference that is meant, `alias-of-self-monitor`
exec({monitor_alias, _, Monitor, Mode}, Pid) ->
    Ref = monitor(process, Pid, [{alias, Mode}]),
    watch(Monitor, Ref),
    named(Monitor, Ref);
exec({is_alive, Label}, Pid) -> log({is_alive, Label, is_process_alive(Pid)});
exec({call, Label, Request}, Pid) ->
    case palaver_world:is(supervisor, Pid) of
        true -> log({is_supervisor, Label});  % a difference that is meant, `unknown-call`
        false -> call(Pid, Request)
    end;
exec({start_child, _, {Label, Restart, Shutdown, Significant, Desc}}, Pid) ->
    Spec = spec(one_for_one, {Label, Restart, Shutdown, Significant, Desc}),
    ask(start_child, fun() -> supervisor:start_child(Pid, Spec) end);
exec({start_dynamic, _, Label, Desc}, Pid) ->
    ask(start_child, fun() -> supervisor:start_child(Pid, [Label, Desc]) end);
exec({terminate_child, _, Id}, Pid) ->
    ask(terminate_child, fun() -> supervisor:terminate_child(Pid, Id) end);
exec({terminate_dynamic, _, Label}, Pid) ->
    case latest(Label) of
        unbound -> log({unbound, Label});
        Child -> ask(terminate_dynamic, fun() -> supervisor:terminate_child(Pid, Child) end)
    end;
exec({restart_child, _, Id}, Pid) ->
    ask(restart_child, fun() -> supervisor:restart_child(Pid, Id) end);
exec({delete_child, _, Id}, Pid) ->
    ask(delete_child, fun() -> supervisor:delete_child(Pid, Id) end);
exec({which_children, _}, Pid) ->
    ask(which_children, fun() ->
        lists:sort([{child_id(Id, Child), child(Child), Type}
            || {Id, Child, Type, _} <- supervisor:which_children(Pid)])
    end);
exec({count_children, _}, Pid) ->
    ask(count_children, fun() -> counts(Pid, [specs, active, supervisors, workers]) end);
exec({count_dynamic, _}, Pid) ->
    %% Without `specs`: a difference that is meant, `dynamic-specs`.
    ask(count_dynamic, fun() -> counts(Pid, [active, supervisors, workers]) end).

counts(Pid, Keys) ->
    Counts = supervisor:count_children(Pid),
    list_to_tuple([proplists:get_value(Key, Counts) || Key <- Keys]).

%% A child of a simple_one_for_one supervisor has no id: who it is says its label.
child_id(undefined, Pid) when is_pid(Pid) -> palaver_world:label_of(Pid);
child_id(Id, _) -> Id.

child(Pid) when is_pid(Pid) -> name_of(Pid);
child(undefined) -> none;
child(restarting) -> restarting.

spawned(Label, Desc, Options) ->
    Id = next(Label),
    bind(Id, start_plain(Id, Desc, Options)).

%% A process that does not trap exits may be ended by the signal of what failed to start; in which
%% order it comes with the answer is a race in OTP. So only one that traps them may start.
start_link(Label, Desc) ->
    case process_info(self(), trap_exit) of
        {trap_exit, true} ->
            case start_child(Label, Desc) of
                {ok, Pid} -> log({start_link, Label, name_of(Pid)});
                ignore -> put({failed, latest(Label)}, true), log({start_link, Label, ignore});
                {error, {already_started, Pid}} ->
                    log({start_link, Label, {already_started, name_of(Pid)}});
                {error, Reason} ->
                    put({failed, latest(Label)}, true),
                    log({start_link, Label, {failed, reason(Reason)}})
            end;
        _ -> log({start_link, Label, not_trapping})
    end.

watch(Monitor, Ref) ->
    put({monitor, Monitor}, Ref),
    put({ref, Ref}, Monitor).

named(Alias, Ref) ->
    put({alias, Alias}, Ref),
    palaver_world:note({alias, Alias}, Ref).

demonitored(Monitor, Options) ->
    case get({monitor, Monitor}) of
        undefined -> log({unbound, Monitor});
        Ref -> demonitor(Ref, Options)
    end.

attempt(Fun) ->
    try Fun(), true
    catch error:badarg -> false
    end.

call(Dest, Request) ->
    try gen_server:call(Dest, {palaver_world:me(), Request}, infinity) of
        Value -> log({answered, Value})
    catch
        exit:{Reason, {gen_server, call, _}} -> log({call_failed, reason(Reason)})
    end.

ask(What, Fun) ->
    try Fun() of
        Result -> log({What, spell_result(Result)})
    catch
        exit:{Reason, {gen_server, call, _}} -> log({What, {call_failed, reason(Reason)}})
    end.

spell_result({ok, undefined}) -> {ok, none};
spell_result({error, {Reason, Child}}) when element(1, Child) =:= child ->
    {error, reason(Reason)};  % a difference that is meant, `start-child-error`
spell_result(Result) -> reason(Result).
