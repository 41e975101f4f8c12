//! The contract of a dataset that follows changes, compiled twice: for rows, and for the keys of rows that are gone.

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use tenon_core::spec::{Cleaning, Column, Contract, DatasetSpec, Severity};

use crate::LakeError;
use crate::contract::Rules;

/// A compiled contract.
pub(crate) struct ChangeRules {
    /// The declaration that it was compiled from.
    pub spec: DatasetSpec,
    /// For rows as they are now. That a key comes again is no fault.
    pub rows: Arc<Rules>,
    /// For rows that are gone: the key's columns alone.
    pub keys: Arc<Rules>,
}

impl ChangeRules {
    /// Compiles a dataset's contract.
    ///
    /// # Errors
    /// [`LakeError::Contract`] names what cannot be followed.
    pub(crate) fn compile(session: &SessionContext, dataset: &str, spec: &DatasetSpec) -> Result<Self, LakeError> {
        let compile = |spec: &DatasetSpec| Rules::compile(session, dataset, spec).map(Arc::new);
        let rows = Contract { key: Vec::new(), ..spec.contract.clone() };
        let rows = compile(&DatasetSpec { contract: rows, ..spec.clone() })?;
        Ok(Self { rows, keys: compile(&of_keys(spec))?, spec: spec.clone() })
    }
}

/// What a delete must keep: it names a row, whatever else there would be to say of that row.
fn of_keys(spec: &DatasetSpec) -> DatasetSpec {
    let column = |name: &String| {
        let data_type = spec.contract.columns.get(name)?.data_type;
        let column = Column {
            data_type,
            description: None,
            unit: spec.contract.columns.get(name)?.unit.clone(),
            nullable: false,
            range: None,
            one_of: None,
            pattern: None,
            references: None,
            class: None,
            severity: Severity::Quarantine,
            unique: false,
        };
        Some((name.clone(), column))
    };
    let contract = Contract { columns: spec.contract.key.iter().filter_map(column).collect(), ..Contract::default() };
    let cleaned = spec.clean.columns.iter().filter(|(name, _)| spec.contract.key.contains(name));
    let columns = cleaned.map(|(name, clean)| (name.clone(), clean.clone())).collect();
    DatasetSpec { event_time: None, contract, clean: Cleaning { columns, drop: None }, ..spec.clone() }
}
