%% What a program does within an activity, and the same without one.
-module(palaver_activity).

-export([body/1, do/1, dirty/1, log/3, code/1, attempt/3, record/2]).

%% Run what an activity does; what fails goes out of it.
body(Ops) -> lists:foreach(fun do/1, Ops).

%% One operation, in an activity or (failing with no_transaction) outside.
do({'try', Op}) ->
    try do(Op)
    catch Class:Reason -> log('try', none, {error, code({Class, Reason})})
    end;
do({nested, Kind, Body, Then}) ->
    case mnesia:Kind(fun() -> body(Body) end) of
        {atomic, _} -> log(nested, none, ok);
        {aborted, Reason} ->
            log(nested, none, {error, code(Reason)}),
            [mnesia:abort(Reason) || Then =:= pass],
            ok
    end;
do({abort, Reason}) -> mnesia:abort({program, Reason});
do({raise}) -> error(boom);
do({is_transaction}) -> log(is_transaction, none, mnesia:is_transaction());
do({dirty, Op}) -> dirty(Op);
do({schema, Op}) -> palaver_tables:schema(Op);
do({table_info, Tab, Item}) ->
    logged(palaver_tables:info_name(Item), Tab, fun() -> palaver_tables:info(Tab, Item) end);
do(Op) -> logged(element(1, Op), element(2, Op), fun() -> result(Op) end).

%% Log what it gives; or how it fails, and let it fail.
logged(Name, Tab, Fun) ->
    try Fun() of
        Result -> log(Name, Tab, Result)
    catch Class:Reason:Stack ->
        log(Name, Tab, {error, code({Class, Reason})}),
        erlang:raise(Class, Reason, Stack)
    end.

result({read, Tab, Key}) -> mnesia:read(Tab, Key);
result({wread, Tab, Key}) -> mnesia:wread({Tab, Key});
result({write, Tab, Fields}) -> mnesia:write(Tab, record(Tab, Fields), write);
result({delete, Tab, Key}) -> mnesia:delete({Tab, Key});
result({delete_object, Tab, Fields}) ->
    in_activity() andalso fits(Tab, Fields),
    mnesia:delete_object(Tab, record(Tab, Fields), write);
result({match_object, Tab, Fields}) ->
    in_activity() andalso fits(Tab, Fields),
    Pattern = record(Tab, Fields),
    scan(match_object, Tab, mnesia:match_object(Tab, Pattern, read),
        fun(Records) -> run_spec(Records, [{Pattern, [], ['$_']}]) end);
result({index_match_object, Tab, Fields, Attr}) ->
    in_activity() andalso indexed(Tab, Attr),
    in_activity() andalso fits(Tab, Fields),
    Pattern = record(Tab, Fields),
    scan(index_match_object, Tab, mnesia:index_match_object(Tab, Pattern, Attr, read),
        fun(Records) -> run_spec(Records, [{Pattern, [], ['$_']}]) end);
result({index_read, Tab, Value, Attr}) ->
    in_activity() andalso indexed(Tab, Attr),
    Raw = mnesia:index_read(Tab, Value, Attr),
    Pos = position(Tab, Attr),
    scan(index_read, Tab, Raw, fun(Records) -> [R || R <- Records, element(Pos, R) =:= Value] end);
result({select, Tab, Clauses}) ->
    in_activity() andalso fit(Tab, Clauses),
    Spec = spec(Tab, Clauses),
    scan(select, Tab, mnesia:select(Tab, Spec), fun(Records) -> run_spec(Records, Spec) end);
result({select_limit, Tab, Clauses, Limit}) ->
    in_activity() andalso fit(Tab, Clauses),
    Spec = spec(Tab, Clauses),
    Raw = more(mnesia:select(Tab, Spec, Limit, read)),
    scan(select_limit, Tab, Raw, fun(Records) -> run_spec(Records, Spec) end);
result({first, Tab}) -> place(first, Tab, mnesia:first(Tab), fun keys/1);
result({last, Tab}) -> place(last, Tab, mnesia:last(Tab), fun(Rs) -> lists:reverse(keys(Rs)) end);
result({next, Tab, Key}) ->
    from(Tab, Key, fun() ->
        place(next, Tab, mnesia:next(Tab, Key), fun(Rs) -> [K || K <- keys(Rs), K > Key] end)
    end);
result({prev, Tab, Key}) ->
    from(Tab, Key, fun() ->
        place(prev, Tab, mnesia:prev(Tab, Key),
            fun(Records) -> [K || K <- lists:reverse(keys(Records)), K < Key] end)
    end);
result({walk, Tab}) ->
    Raw = walk(mnesia:first(Tab), fun(Key) -> mnesia:next(Tab, Key) end),
    scan(walk, Tab, Raw, fun keys/1);
result({walk_back, Tab}) ->
    Raw = walk(mnesia:last(Tab), fun(Key) -> mnesia:prev(Tab, Key) end),
    scan(walk_back, Tab, Raw, fun(Records) -> lists:reverse(keys(Records)) end);
result({foldl, Tab}) ->
    Raw = lists:reverse(mnesia:foldl(fun(R, Acc) -> [R | Acc] end, [], Tab)),
    scan(foldl, Tab, Raw, fun(Records) -> Records end);
result({foldr, Tab}) ->
    Raw = lists:reverse(mnesia:foldr(fun(R, Acc) -> [R | Acc] end, [], Tab)),
    scan(foldr, Tab, Raw, fun lists:reverse/1);
result({all_keys, Tab}) -> scan(all_keys, Tab, mnesia:all_keys(Tab), fun keys/1);
result({update_counter, Tab, Key, Incr}) ->
    counts(Tab, Key),
    mnesia:dirty_update_counter(Tab, Key, Incr);
result({lock, Tab, Kind}) -> mnesia:lock({table, Tab}, Kind), ok.

%% One of the dirty functions.
dirty(Op) ->
    Name = list_to_atom("dirty_" ++ atom_to_list(element(1, Op))),
    logged(Name, element(2, Op), fun() -> dirty_result(Op) end).

dirty_result({read, Tab, Key}) -> mnesia:dirty_read(Tab, Key);
dirty_result({write, Tab, Fields}) -> mnesia:dirty_write(Tab, record(Tab, Fields));
dirty_result({delete, Tab, Key}) -> mnesia:dirty_delete(Tab, Key);
dirty_result({delete_object, Tab, Fields}) ->
    fits(Tab, Fields),
    mnesia:dirty_delete_object(Tab, record(Tab, Fields));
dirty_result({match_object, Tab, Fields}) ->
    fits(Tab, Fields),
    mnesia:dirty_match_object(Tab, record(Tab, Fields));
dirty_result({index_match_object, Tab, Fields, Attr}) ->
    indexed(Tab, Attr),
    fits(Tab, Fields),
    mnesia:dirty_index_match_object(Tab, record(Tab, Fields), Attr);
dirty_result({index_read, Tab, Value, Attr}) ->
    indexed(Tab, Attr),
    mnesia:dirty_index_read(Tab, Value, Attr);
dirty_result({select, Tab, Clauses}) ->
    fit(Tab, Clauses),
    mnesia:dirty_select(Tab, spec(Tab, Clauses));
dirty_result({first, Tab}) -> mnesia:dirty_first(Tab);
dirty_result({last, Tab}) -> mnesia:dirty_last(Tab);
dirty_result({next, Tab, Key}) -> there(Tab, Key), mnesia:dirty_next(Tab, Key);
dirty_result({prev, Tab, Key}) -> there(Tab, Key), mnesia:dirty_prev(Tab, Key);
dirty_result({walk, Tab}) -> walk(mnesia:dirty_first(Tab), fun(K) -> mnesia:dirty_next(Tab, K) end);
dirty_result({walk_back, Tab}) ->
    walk(mnesia:dirty_last(Tab), fun(Key) -> mnesia:dirty_prev(Tab, Key) end);
dirty_result({all_keys, Tab}) -> mnesia:dirty_all_keys(Tab);
dirty_result({update_counter, Tab, Key, Incr}) ->
    counts(Tab, Key),
    mnesia:dirty_update_counter(Tab, Key, Incr).

%% See the difference `missing-index`.
indexed(Tab, Attr) ->
    try {mnesia:table_info(Tab, attributes), palaver_tables:info(Tab, index)} of
        {Attributes, Index} ->
            Missing = lists:member(Attr, Attributes) andalso not lists:member(Attr, Index),
            [mnesia:abort({no_exists, Tab, Attr}) || Missing],
            ok
    catch exit:{aborted, _} -> ok  % Mnesia will say that
    end.

%% See the difference `arity`.
fits(Tab, Fields) ->
    try mnesia:table_info(Tab, arity) of
        Arity when Arity =:= length(Fields) + 1 -> true;
        _ -> mnesia:abort({bad_type, Tab, Fields})
    catch exit:{aborted, {no_exists, _, _}} -> true  % Mnesia will say that
    end.

fit(Tab, Clauses) -> [fits(Tab, Head) || {Head, _, _} <- Clauses].

%% See the difference `no-counter`.
counts(Tab, Key) ->
    try {mnesia:table_info(Tab, type), mnesia:dirty_read(Tab, Key)} of
        {Type, [{Tab, Key, Value}]} when Type =/= bag, not is_integer(Value) ->
            mnesia:abort({badarg, Tab, Key});
        _ -> ok
    catch exit:{aborted, _} -> ok  % Mnesia will say that
    end.

in_activity() -> get(mnesia_activity_state) =/= undefined.

position(Tab, Attr) ->
    {Before, _} = lists:splitwith(fun(A) -> A =/= Attr end, mnesia:table_info(Tab, attributes)),
    length(Before) + 2.

%% In a transaction Mnesia merges what was written with what was there in another way for each
%% function, and not always well. So what it answers is compared with what `read` of every key says,
%% which is right. Where they are not equal both are told, see `compare.py`.
scan(Name, Tab, Raw, Fun) ->
    Ordered = palaver_tables:type_of(Tab) =:= ordered_set andalso
        not lists:member(Name, [match_object, index_match_object, index_read]),
    twice(Tab, Raw, Fun, fun(Found) -> if Ordered -> Found; true -> lists:sort(Found) end end).

%% Of a set or a bag it is determined only whether there is a key.
place(_, Tab, Raw, Fun) ->
    case palaver_tables:type_of(Tab) of
        ordered_set -> twice(Tab, Raw, fun(Rs) -> hd(Fun(Rs) ++ ['$end_of_table']) end, fun(K) -> K end);
        _ -> Raw
    end.

%% Where one comes to in a set or a bag from a key that the transaction has deleted is not determined.
from(Tab, Key, Fun) ->
    Gone = mnesia:is_transaction() andalso palaver_tables:type_of(Tab) =/= ordered_set
        andalso mnesia:read(Tab, Key) =:= [],
    mnesia:is_transaction() orelse (in_activity() andalso there(Tab, Key)),
    try Fun() of
        _ when Gone -> unknown;
        Result -> Result
    catch exit:{aborted, {badarg, _}} when Gone -> unknown
    end.

%% A difference that is meant, `next-of-nothing`.
there(Tab, Key) ->
    try {mnesia:table_info(Tab, type), mnesia:dirty_read(Tab, Key)} of
        {Type, []} when Type =/= ordered_set -> mnesia:abort({badarg, [Tab, Key]});
        _ -> ok
    catch exit:{aborted, _} -> ok  % Mnesia will say that
    end.

twice(Tab, Raw, Fun, Order) ->
    case mnesia:is_transaction() of
        false -> Raw;
        true ->
            Right = Fun(visible(Tab)),
            case Order(Raw) =:= Order(Right) of
                true -> Raw;
                false -> {twice, Raw, Right}
            end
    end.

visible(Tab) ->
    {mnesia, _, Ts} = get(mnesia_activity_state),
    Written = [Key || [Key] <- ets:match(element(2, Ts), {{Tab, '$1'}, '_', '_'})],
    lists:append([mnesia:read(Tab, Key) || Key <- lists:usort(mnesia:dirty_all_keys(Tab) ++ Written)]).

run_spec(Records, Spec) -> ets:match_spec_run(Records, ets:match_spec_compile(Spec)).

keys(Records) -> lists:usort([element(2, Record) || Record <- Records]).

record(Tab, Fields) -> list_to_tuple([Tab | Fields]).

spec(Tab, Clauses) -> [{record(Tab, Head), Guards, Body} || {Head, Guards, Body} <- Clauses].

%% Keys up to the end, or up to the first that it comes to again: Mnesia may go round for ever.
walk(First, Next) -> walk(First, Next, []).

walk('$end_of_table', _, Seen) -> lists:reverse(Seen);
walk(Key, Next, Seen) ->
    case lists:member(Key, Seen) of
        true -> lists:reverse(Seen, [Key]);
        false -> walk(Next(Key), Next, [Key | Seen])
    end.

more('$end_of_table') -> [];
more({Results, Continuation}) -> Results ++ more(mnesia:select(Continuation)).

%% -- the log -----------------------------------------------------------------------------------

log(Name, Tab, Result) -> put(log, [{entry, [Name, Tab, shown(Result)]} | get(log)]), ok.

shown({error, Code}) -> {entry, [error, Code]};
shown({twice, Raw, Right}) -> {entry, [twice, Raw, Right]};
shown(Result) -> {entry, [value, Result]}.

%% Do it, and log what it gave or how it failed.
attempt(Name, Tab, Fun) ->
    Result =
        try Fun()
        catch Class:Reason -> {error, code({Class, Reason})}
        end,
    log(Name, Tab, Result).

%% The head of a reason: Mnesia's word for what is wrong; or {program, Reason} of an abort.
code({aborted, Reason}) -> code(Reason);
code({exit, Reason}) -> code(Reason);
code({error, Reason}) -> code(Reason);
code({throw, Reason}) -> code(Reason);
code({'EXIT', Reason}) -> code(Reason);
code({program, Reason}) -> {program, Reason};
code({"Bad transform function", _, _, _, Reason}) -> code(Reason);
code({"Bad arity", _, _}) -> bad_type;
code({"Bad key or Record Name", _, _}) -> bad_type;
code({no_exists, Tab} = Reason) when is_atom(Tab) ->
    try mnesia:table_info(Tab, access_mode) of
        read_only -> read_only;  % a difference that is meant, `read-only`
        _ -> element(1, Reason)
    catch exit:_ -> no_exists
    end;
code({Reason, _Stack}) when is_tuple(Reason) -> code(Reason);
code(Reason) when is_tuple(Reason), is_atom(element(1, Reason)) -> element(1, Reason);
code(Reason) when is_atom(Reason) -> Reason;
code(_) -> unknown.
