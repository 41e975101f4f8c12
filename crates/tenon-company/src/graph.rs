//! What depends on what among the things that a company declares.

use std::collections::{BTreeMap, BTreeSet};

use tenon_core::spec::{ResourceKind, ResourceRef, SpecSet};

/// The things that a company declares, and which of them read which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    readers: BTreeMap<ResourceRef, BTreeSet<ResourceRef>>,
}

impl Graph {
    /// The graph of a set of specs.
    pub fn of(specs: &SpecSet) -> Self {
        let mut graph = Self::default();
        for (name, dataset) in &specs.datasets {
            let this = ResourceRef::new(ResourceKind::Dataset, name.as_str());
            let referenced = dataset.spec.contract.columns.values().filter_map(|column| column.references.as_deref());
            for reference in referenced.filter_map(|reference| reference.split('.').next()) {
                graph.edge(ResourceRef::new(ResourceKind::Dataset, reference), &this);
            }
            graph.sql_edges(specs, dataset.spec.source.sql.as_deref().unwrap_or_default(), &this);
        }
        for (name, view) in &specs.feature_views {
            let this = ResourceRef::new(ResourceKind::FeatureView, name.as_str());
            graph.edge(ResourceRef::new(ResourceKind::Dataset, view.spec.dataset.as_str()), &this);
        }
        for (name, view) in &specs.derived_views {
            let this = ResourceRef::new(ResourceKind::FeatureView, name.as_str());
            for used in &view.spec.views {
                graph.edge(ResourceRef::new(ResourceKind::FeatureView, used.as_str()), &this);
            }
        }
        for (name, model) in &specs.models {
            let this = ResourceRef::new(ResourceKind::Model, name.as_str());
            for view in &model.spec.features {
                graph.edge(ResourceRef::new(ResourceKind::FeatureView, view.as_str()), &this);
            }
            graph.sql_edges(specs, &model.spec.observations, &this);
        }
        for (name, deployment) in &specs.deployments {
            let this = ResourceRef::new(ResourceKind::Deployment, name.as_str());
            graph.edge(ResourceRef::new(ResourceKind::Model, deployment.spec.model.as_str()), &this);
        }
        for (name, monitor) in &specs.monitors {
            let this = ResourceRef::new(ResourceKind::Monitor, name.as_str());
            graph.edge(ResourceRef::new(ResourceKind::Deployment, monitor.spec.deployment.as_str()), &this);
        }
        graph
    }

    /// Everything that reads a thing, directly or through others, sorted.
    pub fn downstream(&self, of: &ResourceRef) -> BTreeSet<ResourceRef> {
        let mut found = BTreeSet::new();
        let mut open = vec![of];
        while let Some(next) = open.pop() {
            for reader in self.readers.get(next).into_iter().flatten() {
                if reader != of && found.insert(reader.clone()) {
                    open.push(reader);
                }
            }
        }
        found
    }

    /// A way along the edges that leads back to where it started, if there is one.
    pub fn cycle(&self) -> Option<Vec<ResourceRef>> {
        self.readers.keys().find_map(|start| self.way_back(start, start, &mut BTreeSet::new(), &mut Vec::new()))
    }

    fn way_back<'a>(
        &'a self,
        start: &ResourceRef,
        at: &'a ResourceRef,
        seen: &mut BTreeSet<&'a ResourceRef>,
        way: &mut Vec<ResourceRef>,
    ) -> Option<Vec<ResourceRef>> {
        way.push(at.clone());
        for reader in self.readers.get(at).into_iter().flatten() {
            if reader == start {
                way.push(reader.clone());
                return Some(way.clone());
            }
            if seen.insert(reader)
                && let Some(found) = self.way_back(start, reader, seen, way)
            {
                return Some(found);
            }
        }
        way.pop();
        None
    }

    fn edge(&mut self, from: ResourceRef, to: &ResourceRef) {
        self.readers.entry(from).or_default().insert(to.clone());
    }

    /// An edge from each dataset whose name occurs as a word of the query. A word that only looks like one costs a needless
    /// line in a plan, never a missing one.
    fn sql_edges(&mut self, specs: &SpecSet, sql: &str, to: &ResourceRef) {
        let words: BTreeSet<&str> = sql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).collect();
        for name in specs.datasets.keys().filter(|name| words.contains(name.as_str())) {
            self.edge(ResourceRef::new(ResourceKind::Dataset, name.as_str()), to);
        }
    }
}
