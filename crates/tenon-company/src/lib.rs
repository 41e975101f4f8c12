//! The company folder: what it declares, what of it is applied, and what a change would do.

use std::sync::Arc;

use tenon_core::spec::SpecSet;

/// What is declared and applied, for the capabilities to read. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    specs: Arc<parking_lot::RwLock<Arc<SpecSet>>>,
}

impl Catalog {
    /// A catalog that holds these specs.
    pub fn fixed(specs: SpecSet) -> Self {
        Self { specs: Arc::new(parking_lot::RwLock::new(Arc::new(specs))) }
    }

    /// What is applied now.
    pub fn specs(&self) -> Arc<SpecSet> {
        Arc::clone(&self.specs.read())
    }

    /// Takes over what was applied.
    pub fn replace(&self, specs: SpecSet) {
        *self.specs.write() = Arc::new(specs);
    }
}
