//! Pods, roles, Cedar policies, tokens.
