/** Version 2: WIT authorities, federation relationships and revocation lists. Never edited once released. */
export const SECOND_SCHEMA = `
alter table bundles add column wit_authorities text not null default '[]';

create table federation_relationships (
  trust_domain text primary key,
  bundle_endpoint_url text not null,
  profile text not null,
  endpoint_spiffe_id text not null
) strict, without rowid;

create table crls (
  trust_domain text not null,
  authority_key_id text not null,
  crl text not null,
  primary key (trust_domain, authority_key_id)
) strict, without rowid;
`;
