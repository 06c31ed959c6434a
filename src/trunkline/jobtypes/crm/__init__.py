"""How `crm-sync` works: `pages` asks a portal for what changed, `landing` writes it beside its place, `run` carries one attempt."""
