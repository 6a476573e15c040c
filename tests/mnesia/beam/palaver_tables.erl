%% The steps of a program: the schema, activities, restarts; and what there is at the end.
-module(palaver_tables).

-export([open/2, close/0, run/1, schema/1, info/2, info_name/1, type_of/1]).

-import(palaver_activity, [attempt/3, code/1, log/3]).

-define(TIMEOUT, 10000).

open(Where, Files) ->
    application:load(mnesia),
    put(files, Files),
    put(disc, Where =/= "-"),
    case Where of
        "-" -> ok;
        _ ->
            application:set_env(mnesia, dir, Where),
            ok = mnesia:create_schema([node()])
    end,
    start().

%% What Mnesia prints goes where our own output goes by default: nowhere.
start() ->
    ok = mnesia:start(),
    group_leader(group_leader(), whereis(mnesia_event)).

close() -> mnesia:stop().

run(Steps) ->
    put(log, []),
    put(subscribed, []),
    lists:foreach(fun step/1, Steps),
    contents(),
    case get(disc) of
        true -> restart(), contents();
        false -> ok
    end,
    Log = lists:reverse(get(log)),
    reset(),
    {log, Log}.

step({activity, Kind, Body}) ->
    Fun = fun() -> palaver_activity:body(Body), done end,
    attempt(activity, none, fun() -> outcome(mnesia:Kind(Fun)) end),
    events();
step({restart}) -> restart();
step({archive, Op}) -> attempt(element(1, Op), none, fun() -> palaver_backups:do(Op) end);
step({outside, Op}) -> attempt(outside, none, fun() -> palaver_activity:do(Op) end);
step({subscribe, Tab, Detail}) ->
    attempt(subscribe, Tab, fun() -> subscribed(mnesia:subscribe({table, Tab, Detail})) end);
step({unsubscribe, Tab, Detail}) ->
    attempt(unsubscribe, Tab, fun() -> subscribed(mnesia:unsubscribe({table, Tab, Detail})) end);
step({dirty, Op}) ->
    try palaver_activity:dirty(Op)
    catch _:_ -> ok
    end,
    events();
step({table_info, Tab, Item}) -> attempt(info_name(Item), Tab, fun() -> info(Tab, Item) end);
step(Op) -> schema(Op), events().

outcome({atomic, Result}) -> Result;
outcome({aborted, Reason}) -> {error, code(Reason)};
outcome(Result) -> Result.

subscribed({ok, _}) -> ok;
subscribed({error, Reason}) -> {error, code(Reason)}.

%% -- the schema --------------------------------------------------------------------------------

schema(Op) -> attempt(element(1, Op), element(2, Op), fun() -> outcome(change(Op)) end).

change({create_table, Tab, {Attributes, Storage, Index, LoadOrder, Access}}) ->
    mnesia:create_table(Tab, [
        {type, type_of(Tab)}, {attributes, Attributes}, {storage(Storage), [node()]},
        {index, Index}, {load_order, LoadOrder}, {access_mode, Access}]);
change({delete_table, Tab}) -> mnesia:delete_table(Tab);
change({clear_table, Tab}) -> mnesia:clear_table(Tab);
change({add_table_index, Tab, Attr}) -> mnesia:add_table_index(Tab, Attr);
change({del_table_index, Tab, Attr}) -> mnesia:del_table_index(Tab, Attr);
change({transform_table, Tab, How, Attributes}) ->
    mnesia:transform_table(Tab, fun(Record) -> transform(How, Record) end, Attributes);
change({change_table_copy_type, Tab, Storage}) ->
    case get(disc) of
        true -> mnesia:change_table_copy_type(Tab, node(), Storage);
        false -> {atomic, ok}
    end;
change({change_table_access_mode, Tab, Mode}) -> mnesia:change_table_access_mode(Tab, Mode);
change({change_table_load_order, Tab, Order}) -> mnesia:change_table_load_order(Tab, Order).

%% The first letter of a table's name says its type.
type_of(Tab) ->
    case hd(atom_to_list(Tab)) of
        $s -> set;
        $o -> ordered_set;
        $b -> bag
    end.

%% Without a folder Mnesia has all tables in memory only; what a program can see is the same.
storage(Storage) ->
    case get(disc) of
        true -> Storage;
        false -> ram_copies
    end.

transform(same, Record) -> Record;
transform(add, Record) -> erlang:append_element(Record, 0);
transform(drop, Record) -> erlang:delete_element(tuple_size(Record), Record);
transform(swap, {_, _, _} = Record) -> Record;
transform(swap, Record) ->
    Last = tuple_size(Record),
    Value = element(Last, Record),
    setelement(Last - 1, setelement(Last, Record, element(Last - 1, Record)), Value);
transform(crash, _) -> error(boom).

info_name(Item) -> list_to_atom("info_" ++ atom_to_list(Item)).

info(Tab, index) ->
    Attributes = mnesia:table_info(Tab, attributes),
    lists:usort([lists:nth(Pos - 1, Attributes) || Pos <- mnesia:table_info(Tab, index)]);
info(Tab, size) ->
    _ = mnesia:table_info(Tab, type),  % see the difference `size-of-nothing`
    mnesia:table_info(Tab, size);
info(Tab, Item) -> mnesia:table_info(Tab, Item).

%% -- events ------------------------------------------------------------------------------------

events() ->
    receive
        {mnesia_table_event, Event} -> event(Event), events()
    after 0 -> ok
    end.

event({_, {schema, _}, _}) -> ok;  % a difference that is meant, `cleared-events`
event({_, {schema, _, _}, _}) -> ok;
event({_, schema, _, _, _}) -> ok;
event({write, Record, _}) -> log(event, element(1, Record), {write, Record});
event({delete, {Tab, Key}, _}) -> log(event, Tab, {delete, Key});
event({delete_object, Record, _}) -> log(event, element(1, Record), {delete_object, Record});
event({write, Tab, Record, Old, _}) -> log(event, Tab, {detailed_write, Record, Old});
event({delete, Tab, {Tab, Key}, Old, _}) -> log(event, Tab, {detailed_delete, Key, Old});
event({delete, Tab, What, _, _}) -> log(event, Tab, {detailed_delete_object, What}).

%% -- restarts, and the end ---------------------------------------------------------------------

restart() ->
    mnesia:stop(),
    start(),
    ok = mnesia:wait_for_tables(tables(), ?TIMEOUT),
    log(restart, none, ok).

tables() -> lists:sort(mnesia:system_info(tables) -- [schema]).

contents() ->
    log(tables, none, tables()),
    [contents(Tab) || Tab <- tables()],
    ok.

contents(Tab) ->
    [log(info_name(Item), Tab, info(Tab, Item)) || Item <- items()],
    log(contents, Tab, mnesia:dirty_match_object(Tab, mnesia:table_info(Tab, wild_pattern))),
    Attributes = mnesia:table_info(Tab, attributes),
    Keys = mnesia:dirty_all_keys(Tab),
    [log(object, Tab, mnesia:dirty_read(Tab, Key)) || Key <- lists:sort(Keys), Attributes =/= []],
    ok.

items() ->
    Always = [type, size, attributes, arity, index, access_mode, load_order],
    case get(disc) of
        true -> [storage_type | Always];
        false -> Always
    end.

reset() ->
    palaver_backups:reset(),
    [mnesia:unsubscribe({table, Tab, Detail}) || Tab <- tables(), Detail <- [simple, detailed]],
    [mnesia:change_table_access_mode(Tab, read_write) || Tab <- tables()],
    [{atomic, ok} = mnesia:delete_table(Tab) || Tab <- tables()],
    events(),
    ok.
