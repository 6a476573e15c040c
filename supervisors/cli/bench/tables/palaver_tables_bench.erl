%% The works of `palaver bench tables` for Mnesia: the same as in works.py, step by step.
%%
%% Started as `erl ... -run palaver_tables_bench main FOLDER RECORDS`. Reads jobs from standard
%% input, `WORK COUNT WIDTH LIMIT_MS` a line; answers each with a line of JSON.
-module(palaver_tables_bench).
-export([main/1]).

-record(account, {number, owner, city, balance, opened, note}).
-record(message, {place, sender, kind, size, sent, body}).

%% As in records.py and works.py.
-define(PER_OWNER, 10).
-define(SELECTED_BELOW, 100000).
-define(QUEUES, 16).
-define(HANDFUL, 100).
-define(FILL, 1000).
-define(OPENED, 1700000000000000).
-define(WAIT_MS, 300000).

main([Folder, Records]) ->
    logger:set_primary_config(level, none),  % its warnings of overload cost time
    application:set_env(mnesia, dir, Folder),
    %% By default it dumps its log every 1,000 writes; under load more is recommended.
    application:set_env(mnesia, dump_log_write_threshold, 50000),
    put(records, list_to_integer(Records)),
    put(next_number, list_to_integer(Records)),
    serve().

serve() ->
    case io:get_line("") of
        Line when is_list(Line) ->
            [Work | Numbers] = string:lexemes(Line, " \n"),
            [Count, Width, LimitMs] = [list_to_integer(N) || N <- Numbers],
            print(do(list_to_atom(Work), Count, Width, LimitMs * 1000000)),
            serve();
        eof ->
            mnesia:stop(),
            halt(0)
    end.

do(Work, Count, Width, Limit) ->
    try
        prepare(Work),
        Result = run(Work, Count, Width, Limit),
        erlang:garbage_collect(),
        Result
    catch
        _:Reason -> [{failed, io_lib:format("\"~s\"", [escaped(Reason)])}]
    end.

print(Result) ->
    Fields = [io_lib:format("\"~s\": ~s", [Name, shown(Value)]) || {Name, Value} <- Result],
    io:format("{~s}~n", [lists:join(", ", Fields)]).

shown(Number) when is_number(Number) -> io_lib:format("~w", [Number]);
shown(Text) -> Text.

escaped(Reason) ->
    [C || C <- lists:flatten(io_lib:format("~0P", [Reason, 20])), C =/= $", C =/= $\\].

%% -- the tables -------------------------------------------------------------------------------

prepare(start) -> ok;
prepare(bulk_load) ->
    up(),
    make(account, account, set, disc_copies, []);
prepare(_) ->
    up(),
    tables(),
    case mnesia:table_info(account, size) of
        0 -> fill(account, get(records)), mnesia:dump_log();
        _ -> ok
    end.

up() ->
    case mnesia:system_info(is_running) of
        yes -> ok;
        _ ->
            Schema = filename:join(mnesia:system_info(directory), "schema.DAT"),
            filelib:is_file(Schema) orelse (ok = mnesia:create_schema([node()])),
            ok = mnesia:start()
    end.

tables() ->
    make(account, account, set, disc_copies, []),
    make(only, account, set, disc_only_copies, []),
    make(indexed, account, set, disc_copies, [{index, [owner]}]),
    make(ordered, account, ordered_set, disc_copies, []),
    make(message, message, ordered_set, disc_copies, []),
    ok = mnesia:wait_for_tables([account, only, indexed, ordered, message], ?WAIT_MS).

make(Name, Record, Type, Storage, More) ->
    Attributes = case Record of
        account -> record_info(fields, account);
        message -> record_info(fields, message)
    end,
    Definition = [{record_name, Record}, {attributes, Attributes}, {type, Type},
                  {Storage, [node()]} | More],
    case mnesia:create_table(Name, Definition) of
        {atomic, ok} -> ok;
        {aborted, {already_exists, Name}} -> ok
    end.

fill(Table, Count) ->
    [fill_some(Table, First, min(First + ?FILL, Count)) || First <- lists:seq(0, Count - 1, ?FILL)],
    ok.

fill_some(Table, First, Stop) ->
    write_all(Table, [account(N) || N <- lists:seq(First, Stop - 1)]).

%% Without a transaction: the fastest way there is.
write_all(Table, Records) ->
    mnesia:async_dirty(fun() ->
        lists:foreach(fun(R) -> mnesia:write(Table, R, write) end, Records)
    end).

fill_for_reads() ->
    [fill_if_empty(Table) || Table <- [only, indexed, ordered]],
    mnesia:dump_log().

fill_if_empty(Table) ->
    case mnesia:table_info(Table, size) of
        0 -> fill(Table, get(records));
        _ -> ok
    end.

%% -- the records ------------------------------------------------------------------------------

account(N) ->
    #account{number = N, owner = owner(N), city = city(N rem 16),
             balance = N * 7919 rem 1000000, opened = ?OPENED + N, note = padded(N, 54)}.

message(Queue, At) ->
    #message{place = {Queue, At}, sender = owner(At), kind = city(Queue),
             size = At * 7919 rem 1000000, sent = ?OPENED + At, body = padded(At, 54)}.

owner(N) -> <<"owner-", (padded(N div ?PER_OWNER, 14))/binary>>.

city(N) -> <<"city-", (padded(N, 7))/binary>>.

padded(N, Width) ->
    Digits = integer_to_binary(N),
    <<(binary:copy(<<"0">>, Width - byte_size(Digits)))/binary, Digits/binary>>.

random_numbers(Below, Count) -> random_numbers(Below, Count, 1).

random_numbers(_, 0, _) -> [];
random_numbers(Below, Count, Last) ->
    State = (Last * 6364136223846793005 + 1442695040888963407) band 16#ffffffffffffffff,
    [(State bsr 33) rem Below | random_numbers(Below, Count - 1, State)].

new_accounts(Count) ->
    First = get(next_number),
    put(next_number, First + Count),
    [account(N) || N <- lists:seq(First, First + Count - 1)].

some_accounts(Count) -> [account(N) || N <- random_numbers(get(records), Count)].

chunks(Items, Size) when length(Items) < Size -> [];
chunks(Items, Size) ->
    {Chunk, Rest} = lists:split(Size, Items),
    [Chunk | chunks_of(Rest, length(Rest), Size)].

chunks_of(_, Left, Size) when Left < Size -> [];
chunks_of(Items, Left, Size) ->
    {Chunk, Rest} = lists:split(Size, Items),
    [Chunk | chunks_of(Rest, Left - Size, Size)].

%% -- the works --------------------------------------------------------------------------------

run(put, Count, Width, Limit) ->
    settled(timed(chunks(new_accounts(Count), Width), fun put_durably/1, Limit));
run(put_random, Count, Width, Limit) ->
    settled(timed(chunks(some_accounts(Count), Width), fun put_durably/1, Limit));
run(Callers, Count, Width, Limit) when Callers =:= put_threads; Callers =:= put_tasks ->
    settled(callers(new_accounts(Count), Width, Limit));
run(Callers, Count, Width, Limit)
        when Callers =:= put_random_threads; Callers =:= put_random_tasks ->
    settled(callers(some_accounts(Count), Width, Limit));
run(transaction, Count, _, Limit) ->
    until_durable(some_accounts(Count), fun transact/1, Limit);
run(dirty_write, Count, _, Limit) ->
    until_durable(some_accounts(Count), fun(A) -> ok = mnesia:dirty_write(A) end, Limit);
run(get, Count, Width, Limit) ->
    reads(Count, Width, ?HANDFUL, dirty_reads(account), Limit);
run(get_disc_only, Count, Width, Limit) ->
    fill_for_reads(),
    reads(Count, Width, ?HANDFUL, dirty_reads(only), Limit);
run(transaction_read, Count, Width, Limit) ->
    reads(Count, 0, Width, fun transact_reads/1, Limit);
run(index_read, Count, _, Limit) ->
    fill_for_reads(),
    Owners = [owner(N) || N <- random_numbers(get(records), Count)],
    timed(chunks(Owners, 10), fun index_reads/1, Limit);
run(select, Count, _, Limit) ->
    Everything = lists:seq(1, get(records)),
    timed([Everything || _ <- lists:seq(1, max(1, Count div get(records)))],
          fun(_) -> select() end, Limit);
run(key_range, Count, Width, Limit) ->
    fill_for_reads(),
    Starts = random_numbers(get(records) - Width, Count div Width),
    Width = length(range(hd(Starts), Width)),
    Result = timed(chunks(Starts, 1), fun([Start]) -> range(Start, Width) end, Limit),
    {ops, Ranges} = lists:keyfind(ops, 1, Result),
    lists:keyreplace(ops, 1, Result, {ops, Ranges * Width});
run(queue, Count, Width, Limit) ->
    [append(messages(Queue, Width)) || Queue <- queues()],
    Turns = [messages(Turn rem ?QUEUES, Width) || Turn <- lists:seq(0, Count div Width - 1)],
    Result = timed(Turns, fun(Messages) -> append_and_take(Messages, Width) end, Limit),
    [Width = take(Queue, Width + 1) || Queue <- queues()],
    settled(Result);
run(bulk_load, Count, _, _) ->
    Parts = [load_some(First, min(First + ?FILL, Count)) || First <- lists:seq(0, Count - 1, ?FILL)],
    Settling = [spent(fun() -> ok = mnesia:sync_log() end)],
    Wall = lists:sum([W || {W, _, _} <- Parts ++ Settling]),
    Cpu = lists:sum([C || {_, C, _} <- Parts ++ Settling]),
    mnesia:dump_log(),
    [{ops, Count}, {wall_s, Wall / 1.0e9}, {cpu_s, Cpu / 1.0e9}, {bytes, disk_bytes()}];
run(start, Count, _, _) ->
    erlang:garbage_collect(),
    Before = anonymous_bytes(),
    {Wall, Cpu, ok} = spent(fun() ->
        ok = mnesia:start(),
        ok = mnesia:wait_for_tables([account], ?WAIT_MS)
    end),
    Bytes = anonymous_bytes() - Before,
    Count = mnesia:table_info(account, size),
    %% Every record is in memory as it is used, from the start on.
    [{ops, Count}, {wall_s, Wall / 1.0e9}, {cpu_s, Cpu / 1.0e9}, {bytes, Bytes},
     {bytes_in_use, Bytes}].

put_durably(Accounts) ->
    {atomic, ok} = mnesia:sync_transaction(fun() ->
        lists:foreach(fun(A) -> mnesia:write(A) end, Accounts)
    end),
    ok = mnesia:sync_log().

transact(Account) ->
    {atomic, ok} = mnesia:transaction(fun() ->
        [_] = mnesia:read(account, Account#account.number),
        mnesia:write(Account)
    end).

until_durable(Accounts, Do, Limit) ->
    Handfuls = chunks(Accounts, ?HANDFUL),
    {Wall, Cpu, Done} = spent(fun() ->
        Done = timed(Handfuls, fun(Some) -> lists:foreach(Do, Some) end, Limit),
        ok = mnesia:sync_log(),
        Done
    end),
    {ops, Ops} = lists:keyfind(ops, 1, Done),
    settled([{ops, Ops}, {wall_s, Wall / 1.0e9}, {cpu_s, Cpu / 1.0e9}]).

%% What Mnesia does in the background is done before the next engine's turn.
settled(Result) ->
    mnesia:dump_log(),
    Result.

callers(Accounts, Width, Limit) ->
    Parts = parts(Accounts, length(Accounts) div Width, Width),
    Self = self(),
    Pids = [spawn_link(fun() -> receive go -> Self ! {self(), puts(Part, Limit)} end end)
            || Part <- Parts],
    {Wall, Cpu, Times} = spent(fun() ->
        [Pid ! go || Pid <- Pids],
        lists:append([receive {Pid, Times} -> Times end || Pid <- Pids])
    end),
    result(length(Times), Wall, Cpu, Times).

parts(_, _, 0) -> [];
parts(Accounts, Size, Left) ->
    {Part, Rest} = lists:split(Size, Accounts),
    [Part | parts(Rest, Size, Left - 1)].

puts(Accounts, Limit) ->
    Now = erlang:monotonic_time(nanosecond),
    steps([[A] || A <- Accounts], fun put_durably/1, Now, Now + Limit, []).

reads(Count, Hot, Size, Do, Limit) ->
    Below = case Hot of 0 -> get(records); _ -> min(Hot, get(records)) end,
    Steps = [First | _] = chunks(random_numbers(Below, Count), Size),
    Expected = account(lists:last(First)),
    Expected = Do(First),
    timed(Steps, Do, Limit).

dirty_reads(Table) ->
    fun(Numbers) ->
        lists:foldl(fun(N, _) -> [A] = mnesia:dirty_read(Table, N), A end, none, Numbers)
    end.

transact_reads(Numbers) ->
    {atomic, Account} = mnesia:transaction(fun() ->
        lists:foldl(fun(N, _) -> [A] = mnesia:read(account, N), A end, none, Numbers)
    end),
    Account.

index_reads(Owners) ->
    [?PER_OWNER = length(mnesia:dirty_index_read(indexed, Owner, #account.owner))
     || Owner <- Owners].

select() ->
    Head = #account{number = '$1', balance = '$2', _ = '_'},
    Guards = [{'<', '$1', get(records)}, {'<', '$2', ?SELECTED_BELOW}],
    mnesia:dirty_select(account, [{Head, Guards, ['$_']}]).

%% By the order of keys: a search with guards would look at every record.
range(Start, Size) ->
    [mnesia:dirty_read(ordered, Start) | range_after(Start, Size - 1)].

range_after(_, 0) -> [];
range_after(Key, Left) ->
    Next = mnesia:dirty_next(ordered, Key),
    [mnesia:dirty_read(ordered, Next) | range_after(Next, Left - 1)].

queues() -> lists:seq(0, ?QUEUES - 1).

messages(Queue, Count) ->
    First = case get({tail, Queue}) of undefined -> 0; At -> At end,
    put({tail, Queue}, First + Count),
    [message(Queue, N) || N <- lists:seq(First, First + Count - 1)].

append(Messages) ->
    {atomic, ok} = mnesia:sync_transaction(fun() ->
        lists:foreach(fun(M) -> mnesia:write(M) end, Messages)
    end),
    ok = mnesia:sync_log().

append_and_take(Messages = [#message{place = {Queue, _}} | _], Width) ->
    append(Messages),
    Width = take(Queue, Width).

take(Queue, Count) ->
    Head = #message{place = {Queue, '_'}, _ = '_'},
    {atomic, Taken} = mnesia:sync_transaction(fun() ->
        {Found, _} = mnesia:select(message, [{Head, [], ['$_']}], Count, write),
        First = lists:sublist(Found, Count),
        lists:foreach(fun(M) -> mnesia:delete_object(M) end, First),
        length(First)
    end),
    ok = mnesia:sync_log(),
    Taken.

load_some(First, Stop) ->
    Accounts = [account(N) || N <- lists:seq(First, Stop - 1)],
    spent(fun() -> write_all(account, Accounts) end).

%% What a dump of the log leaves: the table, and the changes that are not merged into it yet.
disk_bytes() ->
    Folder = mnesia:system_info(directory),
    Files = [filename:join(Folder, Name) || Name <- ["account.DCD", "account.DCL"]],
    lists:sum([filelib:file_size(File) || File <- Files]).

%% -- time and memory --------------------------------------------------------------------------

timed(Steps, Do, Limit) ->
    {Wall, Cpu, Times} = spent(fun() ->
        Now = erlang:monotonic_time(nanosecond),
        steps(Steps, Do, Now, Now + Limit, [])
    end),
    Done = lists:sublist(Steps, length(Times)),
    result(lists:sum([length(Step) || Step <- Done]), Wall, Cpu, Times).

steps([], _, _, _, Times) -> Times;
steps([Step | Rest], Do, Then, Ends, Times) ->
    Do(Step),
    Now = erlang:monotonic_time(nanosecond),
    case Now >= Ends of
        true -> [Now - Then | Times];
        false -> steps(Rest, Do, Now, Ends, [Now - Then | Times])
    end.

result(Ops, Wall, Cpu, Times) ->
    Sorted = list_to_tuple(lists:sort(Times)),
    [{ops, Ops}, {wall_s, Wall / 1.0e9}, {cpu_s, Cpu / 1.0e9},
     {p50_us, percentile(Sorted, 50)}, {p99_us, percentile(Sorted, 99)}].

percentile(Sorted, Share) ->
    element(1 + (tuple_size(Sorted) - 1) * Share div 100, Sorted) / 1000.

spent(Do) ->
    Cpu = cpu_ns(),
    Began = erlang:monotonic_time(nanosecond),
    Result = Do(),
    Ended = erlang:monotonic_time(nanosecond),
    {Ended - Began, cpu_ns() - Cpu, Result}.

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
