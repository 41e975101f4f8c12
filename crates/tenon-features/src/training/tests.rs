#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use arrow::array::{Float64Array, StringArray};
use arrow::compute::take_record_batch;
use arrow::datatypes::Float32Type;
use arrow::util::pretty::pretty_format_batches;
use tenon_core::Digest;

use super::*;
use crate::fixture::{self, HOUR, flights};

/// Observations as (flight, tail number, decided at in hours, label).
fn observed(rows: &[(i64, &str, i64, Option<bool>)]) -> RecordBatch {
    let moments: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.2 * HOUR)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("flight_id", Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()) as ArrayRef, true),
        ("tailnum", Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>()) as ArrayRef, true),
        ("decided_at", Arc::new(moments.with_timezone("UTC")) as ArrayRef, true),
        ("label", Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>()) as ArrayRef, true),
    ])
    .unwrap()
}

fn features(flights: &RecordBatch) -> Features {
    let specs = fixture::company();
    let (name, view) = specs.feature_views.iter().next().unwrap();
    let features = definition::refs(&definition::view(&specs, name).unwrap());
    let plan = Plan::of(&specs, &DerivedViews::new(), &features).unwrap();
    Features { plan, views: vec![Sourced::new(name, &view.spec, vec![flights.clone()]).unwrap()] }
}

fn frame(observations: &[RecordBatch], flights: &RecordBatch, test: f64) -> Result<TrainingFrame, FeatureError> {
    let set = Observations {
        model: ModelName::new("late_arrival").unwrap(),
        file: fixture::MODEL.to_owned(),
        key: "flight_id".to_owned(),
        decided_at: "decided_at".to_owned(),
        entities: vec!["tailnum".to_owned()],
        test,
        known_by: Timestamp::from_micros(100 * HOUR),
    };
    set.frame(observations, &features(flights), Vec::new(), Digest::of("definition"))
}

fn shown(frame: &TrainingFrame) -> String {
    let columns: Vec<usize> = [0, 1, 3, 4, 5, 6].into();
    pretty_format_batches(&[frame.rows.project(&columns).unwrap()]).unwrap().to_string()
}

#[test]
fn what_was_learnt_later_cannot_be_joined() {
    // Every later row would make the label obvious.
    let landed = flights(&[
        ("N1", 8, 8, 5.0),
        ("N1", 9, 11, 500.0),
        ("N1", 10, 10, 20.0),
        ("N1", 11, 11, 600.0),
        ("N2", 1, 30, 700.0),
        ("N3", 0, 0, 3.0),
    ]);
    let asked = observed(&[
        (3, "N2", 12, Some(true)),
        (1, "N1", 10, Some(true)),
        (4, "N3", 40, Some(false)),
        (2, "N1", 9, Some(false)),
        (5, "N1", 12, None),
        (6, "N1", 101, Some(true)),
    ]);
    let frame = frame(&[asked], &landed, 0.25).unwrap();
    assert_eq!(
        shown(&frame),
        "\
+-----------+---------+-------+----------------+-------------------+----------+
| flight_id | tailnum | label | last_arr_delay | mean_arr_delay_6h | landings |
+-----------+---------+-------+----------------+-------------------+----------+
| 2         | N1      | false | 5.0            | 5.0               | 1.0      |
| 1         | N1      | true  | 20.0           | 12.5              | 2.0      |
| 3         | N2      | true  |                |                   | 0.0      |
| 4         | N3      | false |                |                   | 0.0      |
+-----------+---------+-------+----------------+-------------------+----------+"
    );
    assert_eq!(frame.features, ["last_arr_delay", "mean_arr_delay_6h", "landings"]);
    assert_eq!((frame.train_rows, frame.record.unlabelled), (3, 1));
    let hours = |at: i64| Timestamp::from_micros(at * HOUR);
    assert_eq!(frame.record.decided, (hours(9), hours(40), hours(40)));
}

#[test]
fn the_order_of_the_input_changes_nothing() {
    let rows: Vec<_> =
        (0..200).map(|row| (row, ["N1", "N2", "N3"][(row % 3) as usize], row / 7, Some(row % 2 == 0))).collect();
    let asked = observed(&rows);
    let landed: Vec<_> = (0..300)
        .map(|row| (["N1", "N2"][row % 2], row as i64 / 9, row as i64 / 8, (row * 7 % 11) as f64 / 3.0))
        .collect();
    let landed = flights(&landed);
    let first = frame(std::slice::from_ref(&asked), &landed, 0.2).unwrap();
    let shuffle = |batch: &RecordBatch, by: u32| {
        let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
        order.sort_by_key(|row| row.wrapping_add(1).wrapping_mul(by).rotate_left(11));
        take_record_batch(batch, &arrow::array::UInt32Array::from(order)).unwrap()
    };
    for by in [0x9e37_79b9, 0x85eb_ca6b, 0xc2b2_ae35] {
        let (asked, landed) = (shuffle(&asked, by), shuffle(&landed, by));
        let again = frame(&[asked.slice(0, 50), asked.slice(50, 150)], &landed, 0.2).unwrap();
        assert_eq!(again.record, first.record);
        assert_eq!(again.rows, first.rows);
    }
    let mut other = rows;
    other[7].3 = Some(true);
    assert_ne!(frame(&[observed(&other)], &landed, 0.2).unwrap().record.digest, first.record.digest);
}

#[test]
fn one_moment_is_not_divided() {
    let rows = [(1, "N1", 1, Some(true)), (2, "N1", 2, Some(true)), (3, "N1", 2, Some(true)), (4, "N1", 2, Some(true))];
    let none = flights(&[]);
    assert_eq!(frame(&[observed(&rows)], &none, 0.25).unwrap().train_rows, 1);
    let first = [(1, "N1", 1, Some(true)), (2, "N1", 1, Some(true)), (3, "N1", 2, Some(true))];
    assert_eq!(frame(&[observed(&first)], &none, 0.9).unwrap().train_rows, 2, "something is left to learn from");
    let told = frame(&[observed(&rows[1..])], &none, 0.25).unwrap_err().to_string();
    assert_eq!(
        told,
        "the observations of model `late_arrival` (pods/arrivals/models/late_arrival.toml) were all decided at \
         1970-01-01T02:00:00Z, so none can be held out by time"
    );
}

#[test]
fn observations_that_cannot_be_learnt_from_are_told() {
    let none = flights(&[]);
    let whole = observed(&[(1, "N1", 1, Some(true)), (1, "N1", 2, Some(true))]);
    let told = |rows: RecordBatch| {
        let told = frame(&[rows], &none, 0.5).unwrap_err().to_string();
        told.split_once(") ").unwrap().1.to_owned()
    };
    assert_eq!(told(whole.clone()), "name `flight_id` 1 twice: each row must be one decision");
    let renamed = |from: &str, to: &str| {
        let schema = whole.schema();
        let fields = schema.fields().iter().map(|field| {
            let name = if field.name() == from { to } else { field.name().as_str() };
            Field::new(name, field.data_type().clone(), true)
        });
        RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), whole.columns().to_vec()).unwrap()
    };
    assert_eq!(
        told(renamed("label", "lable")),
        "have no column `label`, which is what is to be learnt: did you mean `lable`?"
    );
    assert_eq!(
        told(renamed("tailnum", "x")),
        "have no column `tailnum`, which is an entity of its features: they return `flight_id`, `x`, `decided_at`, `label`"
    );
    let mut columns = whole.columns().to_vec();
    columns[3] = Arc::new(Float64Array::from(vec![1.0, 0.5]));
    let fields: Vec<_> = [0, 1, 2].map(|at| whole.schema().field(at).clone()).into();
    let schema = Schema::new([fields, vec![Field::new("label", DataType::Float64, true)]].concat());
    let half = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    assert_eq!(told(half), "hold 0.5 as `label`, which is true or false, or 1 or 0");
    let unknown = observed(&[(1, "N1", 1, None)]);
    assert!(
        told(unknown)
            .starts_with("hold nothing to learn from by 1970-01-05T04:00:00Z: 1 rows, 1 of them without a label")
    );
}

#[test]
fn a_label_of_ones_and_zeros_is_a_label() {
    let rows = observed(&[(1, "N1", 1, Some(true)), (2, "N1", 2, Some(false)), (3, "N1", 3, None)]);
    let mut columns = rows.columns().to_vec();
    columns[3] = Arc::new(Int64Array::from(vec![Some(1), Some(0), None]));
    let mut fields: Vec<Field> = rows.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[3] = Field::new("label", DataType::Int64, true);
    let ones = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let (first, second) = (frame(&[rows], &flights(&[]), 0.5).unwrap(), frame(&[ones], &flights(&[]), 0.5).unwrap());
    assert_eq!(first.rows, second.rows);
    let last = first.rows.column(4).as_primitive::<Float32Type>();
    assert_eq!(last.null_count(), 2);
}
