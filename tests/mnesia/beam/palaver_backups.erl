%% Backups, checkpoints and the fallback.
-module(palaver_backups).

-export([do/1, reset/0]).

-import(palaver_activity, [code/1]).

do({backup, Name}) -> outcome(mnesia:backup(file(Name)));
do({restore, Name, Default, Tables}) ->
    case mnesia:restore(file(Name), [{default_op, Default} | Tables]) of
        {atomic, Restored} -> lists:sort(Restored);
        {aborted, Reason} -> outcome({error, Reason})
    end;
do({install_fallback, Name}) -> outcome(mnesia:install_fallback(file(Name)));
do({uninstall_fallback}) -> outcome(mnesia:uninstall_fallback());
do({activate_checkpoint, Name, Tables}) ->
    case mnesia:activate_checkpoint([{name, Name}, {max, Tables}, {ram_overrides_dump, true}]) of
        {ok, Name, _} -> ok;
        {error, Reason} -> outcome({error, Reason})
    end;
do({backup_checkpoint, Checkpoint, Name}) ->
    outcome(mnesia:backup_checkpoint(Checkpoint, file(Name)));
do({deactivate_checkpoint, Name}) -> outcome(mnesia:deactivate_checkpoint(Name)).

outcome(ok) -> ok;
outcome({error, {"Cannot prepare checkpoint (replica not available)", _}}) -> {error, no_exists};
outcome({error, {"Cannot install fallback", Reason}}) -> outcome({error, Reason});
outcome({error, enoent}) -> {error, no_exists};
outcome({error, Reason}) -> {error, code(Reason)}.

file(Name) -> filename:join(get(files), Name).

reset() ->
    [mnesia:deactivate_checkpoint(Name) || Name <- mnesia:system_info(checkpoints)],
    [file:delete(file(Name)) || Name <- filelib:wildcard("*", get(files))].
