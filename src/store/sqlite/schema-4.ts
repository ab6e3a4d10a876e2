/** Version 4: entries that demand a type of key of their SVIDs. Never edited once released. */
export const FOURTH_SCHEMA = `
alter table entries add column svid_key_type text not null default '';
`;
