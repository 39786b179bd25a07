"""The view of an index's name on the table in use: other programs that read the database follow a switch by it.

It is replaced, not dropped, so that its grants and what depends on it stay. For that its columns are of the same types
whichever table it shows: vectors without their length (`vector`, not `vector(256)`), and always a column `coarse`.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from upsize.errors import InvalidInput, Refused
from upsize.store.base import Table

OURS = "upsize: the generation that answers, of the index"
"""Prefix of the comment on a view; the owner follows it. A view with another comment belongs to somebody else."""
LOCK = "5s"
"""For which it is waited until nobody reads the view; readers that come meanwhile wait behind."""
COLUMNS = ("id", "number", "vector", "metadata", "coarse")

Connection = psycopg.Connection[Any]


def replace_view(c: Connection, name: str, table: Table | None, owner: str, where: str) -> None:
    """Let the view show this table; None: remove it, if it is this owner's. In one transaction, as a whole or not at
    all.

    InvalidInput where something of that name is not this owner's; Refused where others' objects depend on it and it
    would have to go.
    """
    ours = f"{OURS} {owner}"
    ask = "SELECT c.oid, obj_description(c.oid, 'pg_class') FROM pg_class c WHERE c.oid = to_regclass(%s)"
    with c.transaction():
        c.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK)))
        there = c.execute(ask, [f'"{name}"']).fetchone()
        comment = there[1] if there else None
        marked = (comment or "").startswith(OURS)
        if there and comment != ours and (marked or not _shows_table_of(c, there[0], owner)):
            if table is None:
                return
            raise InvalidInput(
                f"{where} has a table or view {name!r} that is not this index's. Choose another name.", param="name"
            )
        if table is None:
            if there:
                _drop(c, name, where)
            return
        options = _options(c, there[0]) if there else sql.SQL("")
        try:
            with c.transaction():
                c.execute(_create(name, table, options, replace=True))
        except psycopg.errors.InvalidTableDefinition:
            # It was made with the vectors' length by an earlier version, and no view may change a column's type.
            assert there is not None
            _make_anew(c, name, there[0], _create(name, table, options, replace=False), where)
        if comment is None or marked:  # what somebody wrote there stays
            c.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(sql.Identifier(name), sql.Literal(ours)))


def _shows_table_of(c: Connection, oid: int, owner: str) -> bool:
    """Whether it is a view on a table of this owner, which tells it where somebody has written a comment of theirs."""
    return bool(
        c.execute(
            "SELECT 1 FROM pg_class v JOIN pg_rewrite r ON r.ev_class = v.oid JOIN pg_depend d ON d.objid = r.oid "
            "AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass "
            "JOIN pg_class t ON t.oid = d.refobjid "
            "WHERE v.oid = %s AND v.relkind = 'v' AND t.relkind = 'r' AND starts_with(t.relname::text, %s)",
            [oid, owner],
        ).fetchone()
    )


def _create(name: str, table: Table, options: sql.Composable, *, replace: bool) -> sql.Composed:
    coarse = "coarse::vector" if table.coarse else "NULL::vector"
    return sql.SQL("CREATE {} {} ({}) {} AS SELECT id, number, vector::vector, metadata, {} FROM {}").format(
        sql.SQL("OR REPLACE VIEW" if replace else "VIEW"),
        sql.Identifier(name),
        sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
        options,
        sql.SQL(coarse),
        sql.Identifier(table.name),
    )


def _options(c: Connection, oid: int) -> sql.Composable:
    """Options of a view (security_barrier, security_invoker), which replacing it would reset."""
    row = c.execute("SELECT reloptions FROM pg_class WHERE oid = %s", [oid]).fetchone()
    options = [option.split("=", 1) for option in (row[0] if row and row[0] else [])]
    if not options:
        return sql.SQL("")
    parts = [sql.SQL("{} = {}").format(sql.Identifier(key), sql.Literal(value)) for key, value in options]
    return sql.SQL("WITH ({})").format(sql.SQL(", ").join(parts))


def _drop(c: Connection, name: str, where: str) -> None:
    try:
        c.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(name)))
    except psycopg.errors.DependentObjectsStillExist as error:
        raise dependents(where, f"the view {name!r}", error) from None


def dependents(where: str, what: str, error: psycopg.Error) -> Refused:
    """Refused, because other objects depend on what would be removed."""
    detail = (error.diag.message_detail or str(error)).strip().rstrip(".").replace("\n", "; ")
    return Refused(f"{where}: others' objects depend on {what}: {detail}. Drop them first; nothing was changed.")


def _make_anew(c: Connection, name: str, oid: int, create: sql.Composed, where: str) -> None:
    """Once for a view of an earlier version: dropped and made again with its grants, and so are views on it."""
    views = [_Dependent(c, view) for view in _dependent_views(c, oid)]
    grants = [grant for view in (oid, *(v.oid for v in views)) for grant in _grants(c, view)]
    for view in reversed(views):
        try:
            c.execute(sql.SQL("DROP VIEW {}").format(view.name))
        except psycopg.errors.DependentObjectsStillExist as error:
            raise dependents(where, "a view on it", error) from None
    _drop(c, name, where)
    c.execute(create)
    for view in views:
        view.create(c)
    for grant in grants:
        c.execute(sql.SQL(grant))


class _Dependent:
    """A view of somebody else, as it was."""

    def __init__(self, c: Connection, oid: int) -> None:
        row = c.execute(
            "SELECT oid::regclass::text, pg_get_viewdef(oid), pg_get_userbyid(relowner), "
            "obj_description(oid, 'pg_class') FROM pg_class WHERE oid = %s",
            [oid],
        ).fetchone()
        assert row is not None  # it was there a moment ago, in the same transaction
        name, self._definition, self._owner, self._comment = row
        self.oid, self.name, self._options = oid, sql.SQL(name), _options(c, oid)

    def create(self, c: Connection) -> None:
        """Create the view again."""
        c.execute(
            sql.SQL("CREATE VIEW {} {} AS {}").format(self.name, self._options, sql.SQL(self._definition.rstrip(";")))
        )
        c.execute(sql.SQL("ALTER VIEW {} OWNER TO {}").format(self.name, sql.Identifier(self._owner)))
        if self._comment:
            c.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(self.name, sql.Literal(self._comment)))


def _dependent_views(c: Connection, oid: int) -> list[int]:
    """All views that depend on a view, directly or not, in the order in which they can be created."""
    rows = c.execute(
        "WITH RECURSIVE on_it AS (SELECT %s::oid AS oid, 0 AS depth UNION SELECT r.ev_class, on_it.depth + 1 "
        "FROM on_it JOIN pg_depend d ON d.refobjid = on_it.oid AND d.refclassid = 'pg_class'::regclass "
        "AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> on_it.oid) "
        "SELECT on_it.oid FROM on_it JOIN pg_class USING (oid) WHERE relkind = 'v' AND depth > 0 "
        "GROUP BY on_it.oid ORDER BY max(depth)",
        [oid],
    ).fetchall()
    return [row[0] for row in rows]


def _grants(c: Connection, oid: int) -> list[str]:
    """GRANT statements of the grants on a view and on its columns."""
    to = (
        "' ON ' || {0}::regclass || ' TO ' || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE "
        "quote_ident(pg_get_userbyid(grantee)) END || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"
    )
    rows = c.execute(
        f"SELECT 'GRANT ' || privilege_type || {to.format('oid')} "
        "FROM pg_class, aclexplode(relacl) WHERE oid = %s AND grantee <> relowner UNION ALL "
        f"SELECT 'GRANT ' || privilege_type || ' (' || quote_ident(attname) || ')' || {to.format('attrelid')} "
        "FROM pg_attribute, aclexplode(attacl) WHERE attrelid = %s",
        [oid, oid],
    ).fetchall()
    return [row[0] for row in rows]
