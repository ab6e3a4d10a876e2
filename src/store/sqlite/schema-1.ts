/** Version 1: entries, nodes, join tokens, authorities, bundles and the change log. Never edited once released. */
export const FIRST_SCHEMA = `
create table meta (
  name text primary key,
  value text not null
) strict, without rowid;

create table bundles (
  trust_domain text primary key,
  sequence text not null,
  refresh_hint integer not null,
  x509_authorities text not null,
  jwt_authorities text not null
) strict;

create table entries (
  ordinal integer primary key autoincrement,
  id text not null unique,
  identity text not null unique,
  spiffe_id text not null,
  parent_id text not null,
  selectors text not null,
  x509_svid_ttl integer not null,
  jwt_svid_ttl integer not null,
  federates_with text not null,
  admin integer not null,
  downstream integer not null,
  store_svid integer not null,
  expires_at integer not null,
  dns_names text not null,
  hint text not null,
  disable_x509_svid_prefetch integer not null,
  jwt_svid_include_jti integer not null,
  revision integer not null,
  created_at integer not null,
  owner_node text
) strict;
create index entries_expiry on entries (expires_at) where expires_at != 0;
create index entries_owner on entries (owner_node) where owner_node is not null;

create table entry_federations (
  trust_domain text not null references bundles (trust_domain),
  entry_ordinal integer not null references entries (ordinal) on delete cascade,
  primary key (trust_domain, entry_ordinal)
) strict, without rowid;
create index entry_federations_entry on entry_federations (entry_ordinal);

create table nodes (
  ordinal integer primary key autoincrement,
  id text not null unique,
  attestation_type text not null,
  selectors text not null,
  can_reattest integer not null,
  banned integer not null,
  serial text not null,
  expires_at integer not null,
  pending_serial text not null,
  pending_expires_at integer not null,
  attested_at integer not null,
  agent_version text not null
) strict;

create table join_tokens (
  hash text primary key,
  expires_at integer not null,
  alias_id text,
  used_at integer
) strict, without rowid;
create index join_tokens_expiry on join_tokens (expires_at);

create table authorities (
  id text primary key,
  kind text not null,
  state text not null,
  server_id text not null,
  key_id text not null,
  public_key text not null,
  chain text not null,
  not_before integer not null,
  not_after integer not null,
  changed_at integer not null
) strict;

create table changes (
  sequence integer primary key autoincrement,
  kind text not null,
  key text not null,
  operation text not null
) strict;
`;
