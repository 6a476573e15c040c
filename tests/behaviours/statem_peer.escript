#!/usr/bin/env escript
%% Runs small state machines on OTP's gen_statem: one program per line of standard input, as a term;
%% for each, one line with what was called back, and how it ended.
-mode(compile).
-export([main/1, init/1, callback_mode/0, handle_event/4, terminate/3]).

%% How many callbacks of a program have an effect: so every program ends.
-define(CALLBACKS, 60).

main(_) ->
    io:setopts(standard_io, [{encoding, latin1}]),
    logger:set_primary_config(level, none),
    loop().

loop() ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, Program} = erl_parse:parse_term(Tokens),
            io:format("~s~n", [lists:join(" ", run(Program))]),
            loop()
    end.

run({Enter, State, Actions, Table, Events}) ->
    Log = self(),
    {ok, {Pid, Ref}} = gen_statem:start_monitor(
        ?MODULE, {Log, Enter, State, Actions, maps:from_list(Table)}, []),
    [feed(Pid, Event) || Event <- Events],
    _ = (catch gen_statem:call(Pid, sync)),
    exit(Pid, kill),
    drain(Ref, []).

feed(Pid, {cast, Content}) -> gen_statem:cast(Pid, Content);
feed(Pid, {info, Content}) -> Pid ! Content;
feed(Pid, {call, Content}) -> gen_statem:send_request(Pid, Content).

drain(Ref, Said) ->
    receive
        {log, Text} -> drain(Ref, [Text | Said]);
        {'DOWN', Ref, process, _, killed} -> lists:reverse(Said);
        {'DOWN', Ref, process, _, Reason} when is_atom(Reason) ->
            lists:reverse([["ended:", atom_to_list(Reason)] | Said]);
        {'DOWN', Ref, process, _, _} -> lists:reverse(["crashed" | Said]);
        _ -> drain(Ref, Said)  % a reply, which is in the log
    end.

init({Log, Enter, State, Actions, Table}) ->
    put(enter, Enter),
    put(left, ?CALLBACKS),
    put(log, Log),
    put(table, Table),
    {ok, State, nothing, actions(Actions, none)}.

callback_mode() ->
    case get(enter) of
        true -> [handle_event_function, state_enter];
        false -> handle_event_function
    end.

terminate(_, _, _) -> ok.

handle_event({call, From}, sync, _, _) ->
    {keep_state_and_data, [{reply, From, ok}]};
handle_event(Type, Content, State, _) ->
    {Name, From} = case Type of
        {call, Caller} -> {call, Caller};
        {timeout, Which} -> {Which, none};
        _ -> {Type, none}
    end,
    get(log) ! {log, io_lib:format("~p:~p:~p", [State, Name, Content])},
    case get(left) of
        0 -> keep_state_and_data;
        Left ->
            put(left, Left - 1),
            case get(table) of
                #{{State, Name, Content} := {Result, Actions}} ->
                    result(Result, actions(Actions, {Type, Content, From}));
                #{} -> keep_state_and_data
            end
    end.

result(keep, Actions) -> {keep_state_and_data, Actions};
result(repeat, Actions) -> {repeat_state_and_data, Actions};
result({next, State}, Actions) -> {next_state, State, nothing, Actions};
result({stop, Reason}, _) -> {stop, Reason}.

actions(Actions, Event) ->
    lists:append([action(Action, Event) || Action <- Actions]).

action(again, {Type, Content, _}) -> [{next_event, Type, Content}];
action(reply, {_, Content, From}) when From =/= none ->
    get(log) ! {log, io_lib:format("reply:~p", [Content])},
    [{reply, From, Content}];
action(reply, _) -> [];
action(again, none) -> [];
action({Kind, Time, Content}, _) when Kind =:= a; Kind =:= b -> [{{timeout, Kind}, Time, Content}];
action({Kind, cancel}, _) when Kind =:= a; Kind =:= b -> [{{timeout, Kind}, cancel}];
action(Action, _) -> [Action].
