%% What a program can be observed to do: who has which label, what happened in which order.
%%
%% All of it is kept in ETS tables, because writing to one sends no signal to anybody and waits
%% for nobody: observing does not change what is observed. Exits are seen by tracing, for the same
%% reason: a monitor of our own would be one more signal to each process.
-module(palaver_world).

-export([open/0, reset/1, close/0]).
-export([next/1, upcoming/1, bind/2, latest/1, name_of/1, label_of/1, me/0, enter/1, priority/1, jitter/0]).
-export([log/1, take_log/0, note/2, alias/1, is/2, quiesce/0, end_all/0, final/0, reason/1]).

open() ->
    [ets:new(Table, [named_table, public, ordered_set]) || Table <- tables()],
    Tracer = spawn_opt(fun tracer/0, [{priority, max}]),
    register(palaver_tracer, Tracer),
    process_flag(priority, low),
    erlang:trace(self(), true, [procs, set_on_spawn, {tracer, Tracer}]).

tables() -> [palaver_pids, palaver_labels, palaver_counts, palaver_log, palaver_set].

%% A fresh world; Schedule is 0 for the usual order of turns, else the seed of another one.
reset(Schedule) ->
    [ets:delete_all_objects(Table) || Table <- tables()],
    ets:insert(palaver_set, {schedule, Schedule}).

close() -> erlang:trace(self(), false, [all]).

%% -- labels ------------------------------------------------------------------------------------

%% The identity of the next process with this label: which one of that label it is.
next(Label) ->
    {Label, ets:update_counter(palaver_counts, Label, 1, {Label, 0})}.

%% Label is this process from now on.
bind({Label, _} = Id, Pid) ->
    ets:insert(palaver_labels, {Pid, Id}),
    ets:insert(palaver_pids, {Label, Pid}).

latest(Label) ->
    case ets:lookup(palaver_pids, Label) of
        [{_, Pid}] -> Pid;
        [] -> unbound
    end.

name_of(Pid) ->
    case ets:lookup(palaver_labels, Pid) of
        [{_, Id}] -> spell(Id);
        [] -> '?'
    end.

label_of(Pid) -> element(1, ets:lookup_element(palaver_labels, Pid, 2)).

spell({Label, Nth}) -> list_to_atom(lists:concat([Label, "#", Nth])).

me() -> spell(get(me)).

%% The identity that `next` will give.
upcoming(Label) ->
    case ets:lookup(palaver_counts, Label) of
        [{_, Nth}] -> {Label, Nth + 1};
        [] -> {Label, 1}
    end.

%% The priority of a process: its place in the schedule. All are above ours, so that in the usual
%% schedule we run when all of them have come to rest.
priority(Id) ->
    case ets:lookup_element(palaver_set, schedule, 2) of
        0 -> high;
        Seed -> element(1 + erlang:phash2({Seed, Id}, 3), {normal, high, max})
    end.

%% The first thing that a process does: say who it is.
enter(Id) ->
    put(me, Id),
    rand:seed(exsss, {ets:lookup_element(palaver_set, schedule, 2), erlang:phash2(Id), 0}),
    process_flag(priority, priority(Id)).

%% In another schedule than the usual one, let others have their turns now and then.
jitter() ->
    case ets:lookup_element(palaver_set, schedule, 2) of
        0 -> ok;
        _ -> [erlang:yield() || rand:uniform(2) =:= 1], ok
    end.

%% -- the log -----------------------------------------------------------------------------------

log(Event) -> log(me(), Event).

log(Who, Event) ->
    Seq = ets:update_counter(palaver_counts, '$log', 1, {'$log', 0}),
    ets:insert(palaver_log, {Seq, Who, Event}).

%% What was logged since the last time, as [[Who, Event], ...].
take_log() ->
    Ref = erlang:trace_delivered(all),
    receive {trace_delivered, all, Ref} -> ok end,
    palaver_tracer ! {flush, self()},
    receive flushed -> ok end,
    Entries = ets:tab2list(palaver_log),
    ets:delete_all_objects(palaver_log),
    [[Who, Event] || {_, Who, Event} <- Entries].

tracer() ->
    receive
        {trace, Pid, exit, Reason} ->
            case ets:lookup(palaver_labels, Pid) of
                [{_, Id}] -> log(spell(Id), {died, reason(Reason)});
                [] -> ok
            end;
        {flush, From} -> From ! flushed;
        _ -> ok
    end,
    tracer().

%% Remember what a process is: `supervisor`; or an alias.
note({alias, Alias}, Ref) -> ets:insert(palaver_set, {{alias, Alias}, Ref});
note(What, Pid) -> ets:insert(palaver_set, {{What, Pid}, true}).

alias(Alias) ->
    case ets:lookup(palaver_set, {alias, Alias}) of
        [{_, Ref}] -> Ref;
        [] -> unbound
    end.

is(What, Pid) -> ets:member(palaver_set, {What, Pid}).

%% A reason as both sides spell it.
reason(Pid) when is_pid(Pid) -> name_of(Pid);
reason({Error, [{M, F, A, Where} | _]}) when is_atom(M), is_atom(F), is_list(Where) ->
    _ = A,
    _ = Error,
    crash;
reason({Reason, {gen_server, call, _}}) -> reason(Reason);
reason(Tuple) when is_tuple(Tuple) -> list_to_tuple(reason(tuple_to_list(Tuple)));
reason(List) when is_list(List) -> [reason(Each) || Each <- List];
reason(Other) -> Other.

%% -- rest and end ------------------------------------------------------------------------------

%% Wait until no process of the program has anything to do.
quiesce() ->
    erlang:yield(),
    case is_quiet() andalso (erlang:yield() =:= true) andalso is_quiet() of
        true -> ok;
        false -> quiesce()
    end.

is_quiet() ->
    lists:all(fun({Pid, _}) ->
        case process_info(Pid, [status, monitors]) of
            undefined -> true;
            [{status, waiting}, {monitors, Monitors}] -> not waits_outside(Monitors);
            _ -> false
        end
    end, ets:tab2list(palaver_labels)).

%% Whether it has asked a server that is not of the program, such as the code server.
waits_outside(Monitors) ->
    lists:any(fun({process, Pid}) when is_pid(Pid) -> name_of(Pid) =:= '?'; (_) -> false end,
        Monitors).

%% Kill all that is left; what is killed first may be restarted, so until nothing is.
end_all() ->
    case [Pid || {Pid, _} <- ets:tab2list(palaver_labels), is_process_alive(Pid)] of
        [] -> ok;
        Pids ->
            [exit(Pid, kill) || Pid <- Pids],
            quiesce(),
            end_all()
    end.

%% Who is alive at the end, and with whom it is linked.
final() ->
    lists:sort([[spell(Id), links(Pid)]
        || {Pid, Id} <- ets:tab2list(palaver_labels), is_process_alive(Pid)]).

links(Pid) ->
    {links, Links} = process_info(Pid, links),
    lists:sort([name_of(Each) || Each <- Links]).
