//! What is wrong with a feature view or a model that only its queries show: columns that a source does not return, types
//! that cannot be aggregated, a source that is not row by row.

use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tenon_core::spec::{Aggregate, ColumnType, DerivedViewSpec, Gate, Resource, SpecFault, SpecSet, closest};
use tenon_core::{FeatureViewName, ModelName};
use tenon_lake::{arrow_type, contract_schema};
use tenon_query::point_in_time::{KeyType, Session, is_vector, schema_of};
use tenon_query::{QueryError, RowsQuery};

use crate::definition::Definition;
use crate::derived::DerivedView;
use crate::training::LABEL;
use crate::{FeatureError, FeatureStore};

impl FeatureStore {
    /// What is wrong with the feature views and models of some specs, applied or not.
    ///
    /// # Errors
    /// When no query can be planned at all.
    pub async fn check(&self, specs: &SpecSet) -> Result<Vec<SpecFault>, FeatureError> {
        let session = self.session();
        let mut faults = Vec::new();
        for view in specs.feature_views.keys() {
            faults.extend(view_faults(&session, specs, view).await?);
        }
        for (view, derived) in &specs.derived_views {
            faults.extend(derived_faults(&session, specs, view, derived));
        }
        for model in specs.models.keys() {
            faults.extend(model_faults(&session, specs, model).await?);
        }
        Ok(faults)
    }

    /// What is wrong with an applied feature view.
    ///
    /// # Errors
    /// Every fault; a view that is not applied is one.
    pub async fn check_view(&self, view: &FeatureViewName) -> Result<(), Vec<SpecFault>> {
        let specs = self.specs();
        let faults = match specs.derived_views.get(view) {
            Some(derived) => Ok(derived_faults(&self.session(), &specs, view, derived)),
            None => view_faults(&self.session(), &specs, view).await,
        };
        found(specs.view(view).map(|view| view.file), faults)
    }

    /// What is wrong with an applied model.
    ///
    /// # Errors
    /// Every fault; a model that is not applied is one.
    pub async fn check_model(&self, model: &ModelName) -> Result<(), Vec<SpecFault>> {
        let specs = self.specs();
        let faults = model_faults(&self.session(), &specs, model).await;
        found(specs.models.get(model).map(|model| model.file.as_str()), faults)
    }
}

async fn view_faults(
    session: &Session,
    specs: &SpecSet,
    view: &FeatureViewName,
) -> Result<Vec<SpecFault>, FeatureError> {
    let Some(resource) = specs.feature_views.get(view) else { return Err(FeatureError::NoView(view.clone())) };
    let (file, spec) = (resource.file.as_str(), &resource.spec);
    let Some(dataset) = specs.datasets.get(&spec.dataset) else { return Ok(Vec::new()) };
    if dataset.spec.source.sql.is_some() {
        let message = format!("feature view `{view}` reads dataset `{}`, which is a query itself", spec.dataset);
        let hint = "name a dataset whose rows arrive: they feed the view one by one";
        return Ok(vec![SpecFault::at(file, &["dataset"], message).hint(hint)]);
    }
    let schema = Arc::new(contract_schema(&dataset.spec.contract));
    let query = match RowsQuery::plan(session, &spec.source, spec.dataset.as_str(), schema).await {
        Ok(query) => query,
        Err(error) => return Ok(vec![source_fault(file, view, &error)]),
    };
    if !query.is_row_by_row() {
        return Ok(vec![
            SpecFault::at(
                file,
                &["source"],
                format!("the source of feature view `{view}` looks at several rows at once"),
            )
            .hint("choose, rename and compute columns and leave rows out; the features do the aggregating"),
        ]);
    }
    let mut faults = Vec::new();
    let mut needs = Needs { file, view, schema: query.schema(), faults: &mut faults };
    for (at, column) in spec.entity.iter().enumerate() {
        needs.column(&["entity", &at.to_string()], "an entity", column, Wanted::Key);
    }
    needs.column(&["event_time"], "an event time", &spec.event_time, Wanted::Moment);
    if let Some(column) = &spec.known_at {
        needs.column(&["known_at"], "a `known_at`", column, Wanted::Moment);
    }
    for (name, feature) in &spec.features {
        if let Some(column) = &feature.column {
            let wanted = if feature.aggregate == Aggregate::Distinct { Wanted::Comparable } else { Wanted::Number };
            needs.column(&["features", name, "column"], &format!("a column for `{name}`"), column, wanted);
        }
    }
    for (name, vector) in &spec.vectors {
        let role = format!("a column for `{name}`");
        needs.column(&["vectors", name, "column"], &role, &vector.column, Wanted::Vector);
        // A column that the source hands on by its name is as long as the contract says.
        let held = dataset.spec.contract.columns.get(&vector.column).map(|column| column.data_type);
        if let Some(ColumnType::Vector(held)) = held.filter(|held| *held != ColumnType::Vector(vector.dimensions)) {
            let message = format!("`{}` has {held} numbers in dataset `{}`", vector.column, spec.dataset);
            let fault = SpecFault::at(file, &["vectors", name, "dimensions"], message);
            needs.faults.push(fault.hint(format!("write dimensions = {held}")));
        }
    }
    Ok(faults)
}

/// What is wrong with the expressions of a derived view.
fn derived_faults(
    session: &Session,
    specs: &SpecSet,
    view: &FeatureViewName,
    derived: &Resource<DerivedViewSpec>,
) -> Vec<SpecFault> {
    let fault = |(feature, error): (String, QueryError)| {
        let message = format!("`{feature}` of derived view `{view}` does not work: {error}");
        SpecFault::at(&derived.file, &["features", &feature, "sql"], message)
    };
    let compiled = DerivedView::compile(session, specs, view, &derived.spec);
    compiled.err().map(fault).into_iter().collect()
}

async fn model_faults(session: &Session, specs: &SpecSet, model: &ModelName) -> Result<Vec<SpecFault>, FeatureError> {
    let definition = match Definition::of(specs, model) {
        Ok(definition) => definition,
        Err(error @ FeatureError::SharedName { .. }) => {
            let file = specs.models.get(model).map_or("", |model| model.file.as_str());
            return Ok(vec![SpecFault::at(file, &["features"], error.to_string())]);
        }
        // A view that is not declared is told by the check of the whole company.
        Err(FeatureError::NoView(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (file, spec) = (definition.model.file.as_str(), &definition.model.spec);
    let mut tables = Vec::new();
    let mut queries = Vec::new();
    for (name, dataset) in &specs.datasets {
        match &dataset.spec.source.sql {
            Some(sql) => queries.push((name.as_str().to_owned(), sql.clone())),
            None => tables.push((name.as_str().to_owned(), Arc::new(contract_schema(&dataset.spec.contract)))),
        }
    }
    let schema = match schema_of(session, &spec.observations, &tables, &queries).await {
        Ok(schema) => schema,
        Err(error) => {
            let message = format!("the observations of model `{model}` do not work: {error}");
            return Ok(vec![SpecFault::at(file, &["observations"], message)]);
        }
    };
    let mut faults = Vec::new();
    let mut observed = |keys: &[&str], role: &str, column: &str, fits: fn(&DataType) -> bool, wanted: &str| {
        let fault = match schema.field_with_name(column) {
            Err(_) => {
                let message = format!("model `{model}` names {role} that its observations do not return");
                SpecFault::at(file, keys, message).hint(returned("the observations return", &schema, column))
            }
            Ok(field) if !fits(field.data_type()) => {
                let message = format!("`{column}`, {role} of model `{model}`, is {}", field.data_type());
                SpecFault::at(file, keys, message).hint(format!("it must be {wanted}"))
            }
            Ok(_) => return,
        };
        faults.push(fault);
    };
    observed(&["key"], "a key", &spec.key, |_| true, "");
    observed(&["decided_at"], "a moment of decision", &spec.decided_at, is_moment, "a moment");
    observed(&["observations"], "a `label`", LABEL, is_label, "true or false, or 1 or 0");
    for column in definition.entities() {
        let role = "an entity of its features";
        observed(
            &["observations"],
            role,
            &column,
            |found| KeyType::of(found).is_some(),
            "text, a whole number or a boolean",
        );
    }
    for (at, gate) in spec.gates.iter().enumerate() {
        if let Gate::Fairness { group_by, .. } = gate {
            observed(&["gates", &at.to_string(), "group_by"], "a group", group_by, |_| true, "");
        }
    }
    for (column, kind) in definition.sent() {
        let fault = match schema.field_with_name(column) {
            Err(_) => {
                let message = format!(
                    "`{column}` is sent with requests, and the observations of model `{model}` do not return it"
                );
                SpecFault::at(file, &["observations"], message).hint(returned(
                    "the observations return",
                    &schema,
                    column,
                ))
            }
            Ok(field) if !can_cast_types(field.data_type(), &arrow_type(*kind)) => {
                let found = field.data_type();
                let message = format!(
                    "`{column}`, which is sent with requests to model `{model}`, is {found} in its observations"
                );
                SpecFault::at(file, &["observations"], message).hint(format!("it must be {}", arrow_type(*kind)))
            }
            Ok(_) => continue,
        };
        faults.push(fault);
    }
    for feature in definition.features() {
        if schema.field_with_name(&feature).is_ok() {
            let message =
                format!("`{feature}` is a column of the observations of model `{model}` and one of its features");
            faults.push(SpecFault::at(file, &["observations"], message).hint("rename one of them"));
        }
    }
    Ok(faults)
}

fn found(file: Option<&str>, faults: Result<Vec<SpecFault>, FeatureError>) -> Result<(), Vec<SpecFault>> {
    match faults {
        Ok(faults) if faults.is_empty() => Ok(()),
        Ok(faults) => Err(faults),
        Err(error) => Err(vec![SpecFault::at(file.unwrap_or(""), &[], error.to_string())]),
    }
}

fn source_fault(file: &str, view: &FeatureViewName, error: &QueryError) -> SpecFault {
    SpecFault::at(file, &["source"], format!("the source of feature view `{view}` does not work: {error}"))
}

enum Wanted {
    Key,
    Moment,
    Number,
    /// Numbers, or what can be told apart.
    Comparable,
    Vector,
}

struct Needs<'a> {
    file: &'a str,
    view: &'a FeatureViewName,
    schema: &'a SchemaRef,
    faults: &'a mut Vec<SpecFault>,
}

impl Needs<'_> {
    fn column(&mut self, keys: &[&str], role: &str, column: &str, wanted: Wanted) {
        let Ok(field) = self.schema.field_with_name(column) else {
            let message = format!("feature view `{}` names {role} that its source does not return", self.view);
            let hint = returned("the source returns", self.schema, column);
            self.faults.push(SpecFault::at(self.file, keys, message).hint(hint));
            return;
        };
        let found = field.data_type();
        let (fits, wanted) = match wanted {
            Wanted::Key => (KeyType::of(found).is_some(), "text, a whole number or a boolean"),
            Wanted::Moment => (is_moment(found), "a moment"),
            Wanted::Number => (is_number(found), "a number or a boolean"),
            Wanted::Vector => (is_vector(found), "a list of numbers, such as a column of type `vector(64)`"),
            Wanted::Comparable => {
                (is_number(found) || KeyType::of(found) == Some(KeyType::Text), "a number, a boolean or text")
            }
        };
        if !fits {
            let message = format!("feature view `{}` names {role} that is {found} in its source", self.view);
            self.faults.push(SpecFault::at(self.file, keys, message).hint(format!("it must be {wanted}")));
        }
    }
}

fn returned(who: &str, schema: &Schema, wrong: &str) -> String {
    let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let near = closest(wrong, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
    format!("{who} `{}`{}", known.join("`, `"), near.unwrap_or_default())
}

fn is_moment(found: &DataType) -> bool {
    matches!(found, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

fn is_number(found: &DataType) -> bool {
    found.is_numeric() || *found == DataType::Boolean
}

fn is_label(found: &DataType) -> bool {
    found.is_numeric() || matches!(found, DataType::Boolean | DataType::Null)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::fixture::{MODEL, VIEW, company, specs};

    async fn told(specs: &SpecSet) -> Vec<String> {
        let session = tenon_query::session(1 << 24, &std::env::temp_dir().join("tenon-tests")).unwrap();
        let mut faults = Vec::new();
        for view in specs.feature_views.keys() {
            faults.extend(view_faults(&session, specs, view).await.unwrap());
        }
        for (view, derived) in &specs.derived_views {
            faults.extend(derived_faults(&session, specs, view, derived));
        }
        for model in specs.models.keys() {
            faults.extend(model_faults(&session, specs, model).await.unwrap());
        }
        let shown = |fault: SpecFault| {
            format!("[{}] {} ({})", fault.keys.join("."), fault.message, fault.hint.unwrap_or_default())
        };
        faults.into_iter().map(shown).collect()
    }

    #[tokio::test]
    async fn a_sound_company_has_no_faults() {
        assert_eq!(told(&company()).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_view_that_its_source_does_not_feed_is_told_with_what_was_meant() {
        let change = |from: &str, to: &str| specs(VIEW, from, to);
        let returns = "the source returns `tailnum`, `landed_at`, `closed_at`, `arr_delay`";
        assert_eq!(
            told(&change("event_time = \"landed_at\"", "event_time = \"landing_at\"")).await,
            [format!(
                "[event_time] feature view `aircraft_delay` names an event time that its source does not return \
                 ({returns}; did you mean `landed_at`?)"
            )]
        );
        assert_eq!(
            told(&change("\"last\", column = \"arr_delay\"", "\"last\", column = \"tailnum\"")).await,
            [
                "[features.last_arr_delay.column] feature view `aircraft_delay` names a column for `last_arr_delay` that is \
              Utf8 in its source (it must be a number or a boolean)"
            ]
        );
        let first = told(&change("entity = [\"tailnum\"]", "entity = [\"tail_number\"]")).await.remove(0);
        assert_eq!(
            first,
            format!(
                "[entity.0] feature view `aircraft_delay` names an entity that its source does not return ({returns})"
            )
        );
        let grouped = change(
            "arr_delay FROM flights WHERE tailnum IS NOT NULL",
            "avg(arr_delay) AS arr_delay FROM flights GROUP BY 1, 2, 3",
        );
        assert_eq!(
            told(&grouped).await,
            ["[source] the source of feature view `aircraft_delay` looks at several rows at once (choose, rename and \
              compute columns and leave rows out; the features do the aggregating)"]
        );
        let unknown = told(&change("SELECT tailnum,", "SELECT tail_num AS tailnum,")).await.remove(0);
        assert!(unknown.contains("does not work: there is no column `tail_num`"), "{unknown}");
    }

    #[tokio::test]
    async fn observations_that_lack_what_the_model_needs_are_told() {
        let change = |from: &str, to: &str| specs(MODEL, from, to);
        let returns = "the observations return `flight_id`, `tailnum`, `decided_at`";
        assert_eq!(
            told(&change("late AS label", "late AS lable")).await,
            [format!(
                "[observations] model `late_arrival` names a `label` that its observations do not return \
                 ({returns}, `lable`; did you mean `lable`?)"
            )]
        );
        assert_eq!(
            told(&change("late AS label", "tailnum AS label")).await,
            [
                "[observations] `label`, a `label` of model `late_arrival`, is Utf8 (it must be true or false, or 1 or 0)"
            ]
        );
        assert_eq!(
            told(&change("late AS label", "late AS label, 1 AS landings")).await,
            [
                "[observations] `landings` is a column of the observations of model `late_arrival` and one of its features (rename one of them)"
            ]
        );
        let broken = told(&change("FROM schedule", "FROM shedule")).await.remove(0);
        assert!(
            broken.starts_with("[observations] the observations of model `late_arrival` do not work: "),
            "{broken}"
        );
    }

    #[tokio::test]
    async fn two_features_of_one_name_are_told() {
        let mut files = crate::fixture::files();
        let mut second = files.iter().find(|file| file.path == VIEW).unwrap().clone();
        second.path = second.path.replace("aircraft_delay", "other_delay");
        files.push(second);
        for file in files.iter_mut().filter(|file| file.path == MODEL) {
            file.text = file.text.replace("[\"aircraft_delay\"]", "[\"aircraft_delay\", \"other_delay\"]");
        }
        assert_eq!(
            told(&SpecSet::read(&files).unwrap()).await,
            [
                "[features] model `late_arrival` reads a feature `last_arr_delay` from `aircraft_delay` and another from \
              `other_delay`; rename one of them ()"
            ]
        );
    }
}
