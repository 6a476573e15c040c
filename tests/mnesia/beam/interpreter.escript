#!/usr/bin/env escript
%%! +S 1:1 +sbt u
-mode(compile).

%% Runs programs on Mnesia: one program a line comes in as an Erlang term, what was observed goes out
%% as one line of JSON. The arguments are the folder of the schema, or `-` for a schema in memory,
%% and one for backups.

main([Where, Files]) ->
    logger:set_primary_config(level, none),
    Here = filename:dirname(escript:script_name()),
    [load(filename:join(Here, Name)) || Name <- sources()],
    User = group_leader(),
    group_leader(spawn_link(fun sink/0), self()),
    palaver_tables:open(Where, Files),
    io:setopts(User, [{encoding, unicode}, binary]),
    lines(User),
    palaver_tables:close().

%% Mnesia prints what it thinks of a transform function; nobody listens.
sink() ->
    receive
        {io_request, From, As, _} -> From ! {io_reply, As, ok};
        _ -> ok
    end,
    sink().

sources() -> ["palaver_activity.erl", "palaver_backups.erl", "palaver_tables.erl"].

load(File) ->
    {ok, Module, Code} = compile:file(File, [binary, return_errors]),
    {module, Module} = code:load_binary(Module, File, Code).

lines(User) ->
    case io:get_line(User, "") of
        eof -> ok;
        Line ->
            {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Line)),
            {ok, Steps} = erl_parse:parse_term(Tokens),
            io:put_chars(User, [json(palaver_tables:run(Steps)), $\n]),
            lines(User)
    end.

%% Texts (binaries), floats, tuples and lists of the program have a tag before them; words have not.
json({log, Entries}) -> list([json(Each) || Each <- Entries]);
json({entry, Fields}) -> list([json(Each) || Each <- Fields]);
json(true) -> "true";
json(false) -> "false";
json('None') -> "null";
json(Atom) when is_atom(Atom) -> [$", atom_to_list(Atom), $"];
json(Number) when is_integer(Number) -> integer_to_list(Number);
json(Float) when is_float(Float) -> list(["\"float\"", io_lib:format("~w", [Float])]);
json(Text) when is_binary(Text) -> list(["\"text\"", [$", Text, $"]]);
json(List) when is_list(List) -> list(["\"list\"" | [json(Each) || Each <- List]]);
json(Tuple) when is_tuple(Tuple) ->
    list(["\"tuple\"" | [json(Each) || Each <- tuple_to_list(Tuple)]]).

list(Items) -> [$[, lists:join($,, Items), $]].
