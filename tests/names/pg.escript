#!/usr/bin/env escript
%% Runs programs over OTP's pg and prints what can be seen after every step.
%%
%% The file named by the argument holds one program, an Erlang list of steps, then a full stop, after
%% the other. One line is printed for each: a list with one element for each step,
%%     [Result, [[Members of group 1], ...], [[Local ...], ...], [Groups], [Local groups],
%%      [[Monitor, 1 for join or 0 for leave, Group, [Pids]], ...]]
%% where processes, groups and monitors are numbers, and lists without an order are sorted.

-mode(compile).

main([File]) ->
    {ok, Programs} = file:consult(File),
    lists:foldl(fun(Program, Number) ->
        io:format("~w~n", [run(list_to_atom("scope" ++ integer_to_list(Number)), Program)]),
        Number + 1
    end, 1, Programs).

run(Scope, Program) ->
    {ok, Server} = pg:start(Scope),
    Pids = maps:from_list([{N, spawn(fun() -> receive stop -> ok end end)} || N <- [1, 2, 3]]),
    {Seen, _} = lists:mapfoldl(fun(Step, {Ps, Refs}) ->
        {Result, NextPs, NextRefs} = step(Scope, Step, Ps, Refs),
        {[Result | look(Scope, NextPs, NextRefs)], {NextPs, NextRefs}}
    end, {Pids, #{}}, Program),
    [exit(Pid, kill) || Pid <- maps:values(Pids)],
    ok = gen_server:stop(Server),
    forget(),
    Seen.

%% What the end of a program has sent is no part of the next one.
forget() ->
    receive _ -> forget() after 0 -> ok end.

step(Scope, {join, Group, Ns}, Ps, Refs) ->
    ok = pg:join(Scope, Group, pids(Ns, Ps)),
    {1, Ps, Refs};
step(Scope, {leave, Group, Ns}, Ps, Refs) ->
    Result = case pg:leave(Scope, Group, pids(Ns, Ps)) of ok -> 1; not_joined -> 0 end,
    {Result, Ps, Refs};
step(Scope, {'end', N}, Ps, Refs) ->
    Pid = maps:get(N, Ps),
    Ref = erlang:monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Ref, process, Pid, _} -> ok end,
    gone(Scope, Pid),
    {1, Ps, Refs};
step(Scope, {monitor, Group}, Ps, Refs) ->
    {Ref, Members} = pg:monitor(Scope, Group),
    {names(Members, Ps), Ps, Refs#{Ref => maps:size(Refs)}};
step(Scope, monitor_scope, Ps, Refs) ->
    {Ref, Groups} = pg:monitor_scope(Scope),
    Found = [[Group, names(Members, Ps)] || {Group, Members} <- lists:sort(maps:to_list(Groups))],
    {Found, Ps, Refs#{Ref => maps:size(Refs)}};
step(Scope, {demonitor, Number}, Ps, Refs) ->
    case [Ref || {Ref, N} <- maps:to_list(Refs), N =:= Number] of
        [Ref] ->
            {case pg:demonitor(Scope, Ref) of ok -> 1; false -> 0 end, Ps, Refs};
        [] ->
            {0, Ps, Refs}
    end.

%% The scope process hears of the end in its own time.
gone(Scope, Pid) ->
    case [G || G <- pg:which_groups(Scope), lists:member(Pid, pg:get_members(Scope, G))] of
        [] -> ok;
        _ -> erlang:yield(), gone(Scope, Pid)
    end.

look(Scope, Ps, Refs) ->
    %% What the scope process has sent before it answers this has arrived.
    _ = sys:get_state(Scope),
    [
        [names(pg:get_members(Scope, G), Ps) || G <- [1, 2]],
        [names(pg:get_local_members(Scope, G), Ps) || G <- [1, 2]],
        lists:sort(pg:which_groups(Scope)),
        lists:sort(pg:which_local_groups(Scope)),
        lists:sort(events(Ps, Refs))
    ].

events(Ps, Refs) ->
    receive
        {Ref, Verb, Group, Pids} when Verb =:= join; Verb =:= leave ->
            Joined = case Verb of join -> 1; leave -> 0 end,
            Event = [maps:get(Ref, Refs), Joined, Group, names(Pids, Ps)],
            [Event | events(Ps, Refs)]
    after 0 ->
        []
    end.

pids(Ns, Ps) -> [maps:get(N, Ps) || N <- Ns].

names(Pids, Ps) ->
    Names = maps:from_list([{Pid, N} || {N, Pid} <- maps:to_list(Ps)]),
    lists:sort([maps:get(Pid, Names) || Pid <- Pids]).
