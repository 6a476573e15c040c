#!/usr/bin/env escript
%%! +S 1:1 +sbt u
-mode(compile).

%% Runs programs on the BEAM: one program a line comes in as an Erlang term, what was observed goes
%% out as one line of JSON. One scheduler, so that with the usual schedule two runs are the same.

main([]) ->
    logger:set_primary_config(level, none),
    Here = filename:dirname(escript:script_name()),
    [load(filename:join(Here, Name)) || Name <- ["palaver_world.erl", "palaver_actor.erl"]],
    preload(),
    palaver_world:open(),
    io:setopts(standard_io, [{encoding, unicode}, binary]),
    lines().

%% A process that is the first to need a module waits for the code server, which is none of ours.
preload() ->
    Apps = [kernel, stdlib],
    [application:load(App) || App <- Apps],
    [begin {ok, Modules} = application:get_key(App, modules), code:ensure_modules_loaded(Modules) end
        || App <- Apps].

load(File) ->
    {ok, Module, Code} = compile:file(File, [binary, return_errors]),
    {module, Module} = code:load_binary(Module, File, Code).

lines() ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Line)),
            {ok, {Schedule, Roots, Steps}} = erl_parse:parse_term(Tokens),
            io:put_chars([json(run(Schedule, Roots, Steps)), $\n]),
            lines()
    end.

run(Schedule, Roots, Steps) ->
    palaver_world:reset(Schedule),
    [palaver_actor:spawn_root(Label, Desc) || {Label, Desc} <- Roots],
    palaver_world:quiesce(),
    First = palaver_world:take_log(),
    Logs = [step(Step) || Step <- Steps],
    Final = palaver_world:final(),
    palaver_world:end_all(),
    [[First | Logs], Final].

step({wait, Ms, _}) ->
    timer:sleep(Ms + 20),
    palaver_world:quiesce(),
    palaver_world:take_log();
step({do, Label, Instructions}) ->
    case palaver_world:latest(Label) of
        unbound -> ok;
        Pid -> [Pid ! {do, Instructions} || not palaver_world:is(supervisor, Pid)]
    end,
    palaver_world:quiesce(),
    palaver_world:take_log().

json(true) -> "true";
json(false) -> "false";
json(Atom) when is_atom(Atom) -> [$", atom_to_list(Atom), $"];
json(Number) when is_integer(Number) -> integer_to_list(Number);
json([]) -> "[]";
json(List) when is_list(List) -> [$[, lists:join($,, [json(Each) || Each <- List]), $]];
json(Tuple) when is_tuple(Tuple) -> json(tuple_to_list(Tuple)).
