/** Version 3: tasks, the evidence used for them, issued credentials and their places in status lists. Never edited once released. */
export const THIRD_SCHEMA = `
alter table entries add column id_template text not null default '';
alter table entries add column max_task_duration integer not null default 0;
alter table entries add column exchange_audiences text not null default '[]';

create table tasks (
  ordinal integer primary key autoincrement,
  id text not null unique,
  key text not null unique,
  attestor text not null,
  platform text not null,
  issuer text not null,
  description text not null,
  granularity text not null,
  key_thumbprint text not null,
  selectors text not null,
  guarded text not null,
  claims text not null,
  authored_claims text not null,
  state text not null,
  opened_at integer not null,
  lease integer not null,
  lease_expires_at integer not null,
  hard_end integer not null,
  ended_at integer not null,
  end_reason text not null
) strict;
create index tasks_live on tasks (ordinal) where state != 'ended';
create index tasks_ended on tasks (ended_at) where state = 'ended';

create table task_evidence (
  replay_key text primary key,
  until integer not null
) strict, without rowid;
create index task_evidence_until on task_evidence (until);

create table credentials (
  ordinal integer primary key autoincrement,
  kind text not null,
  id text not null,
  authority_id text not null,
  spiffe_id text not null,
  entry_id text not null,
  task_id text not null,
  parent text not null,
  issued_at integer not null,
  expires_at integer not null,
  status_list integer,
  status_index integer,
  revoked_at integer not null,
  reason text not null,
  unique (kind, id)
) strict;
create index credentials_task on credentials (task_id) where task_id != '';
create index credentials_parent on credentials (parent) where parent != '';
create index credentials_expiry on credentials (expires_at);
create index credentials_revoked on credentials (ordinal) where revoked_at != 0;

create table status_lists (
  list integer primary key,
  taken integer not null
) strict;

create table status_places (
  list integer not null,
  place integer not null,
  expires_at integer not null,
  primary key (list, place)
) strict, without rowid;
create index status_places_expiry on status_places (expires_at);
`;
