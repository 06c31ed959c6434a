"""How `crm-sync` works: `source` asks a portal for the `pages` of what changed, `mapping` says which field goes into which column, `landing`
writes rows beside their place, `run` carries one attempt."""
