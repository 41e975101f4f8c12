//! Pages from fixed views.
#![allow(clippy::unwrap_used)]

use insta::assert_snapshot;
use tenon_core::fact::{TrafficReason, Verdict};
use tenon_core::{Span, Timestamp};

use crate::view::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn frame() -> Frame {
    Frame { company: "acme".to_owned(), now: at("2013-10-01T00:00:00Z") }
}

fn part(version: u32, share: f64) -> Part {
    Part { version: format!("late_arrival@{version}"), share }
}

fn gate(gate: &str, verdict: Verdict) -> GateView {
    GateView { gate: gate.to_owned(), verdict, sentence: format!("the {gate} is what it is") }
}

fn version(number: u32, gates: Vec<GateView>, approved: Option<bool>, serving: bool) -> VersionRow {
    VersionRow {
        version: format!("late_arrival@{number}"),
        at: at("2013-04-01T00:00:00Z") + Span::days(i64::from(number) * 40),
        cause: if number == 1 { "asked for by person:ana" } else { "drift of late_arrival" }.to_owned(),
        roc_auc: Some(0.742 + f64::from(number) / 200.0),
        gates,
        approved,
        serving,
    }
}

fn monitor() -> MonitorView {
    let day = |day: i64| at("2013-04-08T00:00:00Z") + Span::days(day);
    let wave = |day: i64| (day as f64 / 9.0).sin().abs();
    MonitorView {
        name: "late_arrival".to_owned(),
        deployment: "late_arrival".to_owned(),
        description: "Do flights, weather and warnings still look as they did when the model learnt?".to_owned(),
        threshold: 0.25,
        drift: (0..170)
            .map(|n| DriftMark {
                at: day(n),
                most_moved: Some("temp".to_owned()),
                psi: 0.06 + if n % 75 > 30 { (n % 75 - 30) as f64 * 0.012 } else { 0.0 } + wave(n) * 0.05,
                prediction_psi: 0.02 + wave(n + 4) * 0.06,
            })
            .collect(),
        quality_at_least: Some(0.65),
        quality: (1..170)
            .map(|n| {
                let auc = 0.735 - wave(n) * 0.04;
                QualityMark { at: day(n), auc, interval: (auc - 0.012, auc + 0.012) }
            })
            .collect(),
        skew: Some(SkewMark { at: day(169), rows: 1204, most_often: Some(("mean_delay".to_owned(), 3)) }),
        detections: vec![
            Mark {
                at: day(49),
                label: "@1".to_owned(),
                sentence: "temp has moved since late_arrival@1 learnt (PSI 0.31, p < 0.001), three days in a row"
                    .to_owned(),
            },
            Mark {
                at: day(122),
                label: "@2".to_owned(),
                sentence: "temp and visib have moved since late_arrival@2 learnt".to_owned(),
            },
        ],
        takeovers: vec![
            Mark { at: day(0), label: "@1".to_owned(), sentence: "late_arrival@1 took over".to_owned() },
            Mark { at: day(55), label: "@2".to_owned(), sentence: "late_arrival@2 took over".to_owned() },
        ],
    }
}

fn period(from: &str, traffic: Vec<Part>, reason: TrafficReason, sentence: &str, fact: u64) -> PeriodRow {
    PeriodRow { from: at(from), until: None, traffic, reason, sentence: sentence.to_owned(), fact }
}

fn full() -> HomeView {
    let row = |name: &str, what: &str, rows: u64, quarantined: u64| DatasetRow {
        name: name.to_owned(),
        pod: "arrivals".to_owned(),
        description: what.to_owned(),
        version: Some(184),
        updated: Some(at("2013-10-01T00:00:00Z")),
        rows,
        quarantined,
        computed: false,
    };
    let all = |verdict| {
        ["quality", "calibration", "fairness", "explanation", "latency", "budget"]
            .map(|kind| gate(kind, verdict))
            .to_vec()
    };
    let mut shuffled = all(Verdict::Passed);
    shuffled[0].verdict = Verdict::Waived;
    shuffled[1].verdict = Verdict::Failed;
    let fact = |index: u64, kind: &str, what: &str, by: &str| FactRow {
        index,
        at: at("2013-09-30T23:00:00Z"),
        kind: kind.to_owned(),
        by: by.to_owned(),
        what: what.to_owned(),
        link: None,
    };
    HomeView {
        frame: frame(),
        description: Some("Tells passengers before they leave for the airport whether their flight will land late".to_owned()),
        datasets: vec![
            row("departures", "Every departure from the three New York airports, as it leaves the gate", 243_514, 0),
            row("flights", "Every flight once its record is closed", 249_313, 1_842),
            row("planes", "The register of aircraft", 3_322, 0),
            row("schedule", "Every planned flight, a day before it leaves", 252_704, 0),
            row("weather", "Hourly weather at the three airports", 19_621, 12),
        ],
        versions: vec![
            version(3, shuffled, Some(false), false),
            version(2, all(Verdict::Passed), Some(true), true),
            version(1, all(Verdict::Passed), Some(true), false),
        ],
        deployments: vec![DeploymentView {
            name: "late_arrival".to_owned(),
            description: "Warns a passenger, one hour before departure, that the flight will probably land more than 15 minutes late".to_owned(),
            traffic: vec![part(2, 0.9), part(3, 0.1)],
            rollout: Some("late_arrival@3 is on step 1 of 3".to_owned()),
            decisions: 168_402,
            outcomes: 164_311,
            history: vec![
                period("2013-08-20T00:00:00Z", vec![part(2, 0.9), part(3, 0.1)], TrafficReason::Advanced, "late_arrival@3 takes 10% of the traffic: step 1 of 3", 1_204),
                period("2013-06-03T00:00:00Z", vec![part(2, 1.0)], TrafficReason::Finished, "late_arrival@2 takes over: its Brier score is within 0.01 of late_arrival@1 at 95% confidence over 1,204 outcomes", 803),
                period("2013-06-02T00:00:00Z", vec![part(1, 0.5), part(2, 0.5)], TrafficReason::Advanced, "late_arrival@2 takes 50% of the traffic: step 2 of 3", 800),
                period("2013-05-30T00:00:00Z", vec![part(1, 1.0)], TrafficReason::RolledBack, "late_arrival@2 is sent back: its Brier score is 0.031 worse, more than 0.01 at 95% confidence", 760),
                period("2013-04-01T00:00:00Z", vec![part(1, 1.0)], TrafficReason::Finished, "late_arrival@1 is the first and answers everything", 71),
            ],
        }],
        monitors: vec![monitor()],
        budgets: vec![
            BudgetRow { pod: "arrivals".to_owned(), period: "2013-09".to_owned(), spent_usd: 0.0412, limit_usd: Some(5.0) },
            BudgetRow { pod: "trust".to_owned(), period: "2013-09".to_owned(), spent_usd: 0.0, limit_usd: None },
        ],
        facts: Some(vec![
            fact(1_911, "decisions.logged", "4,822 decisions of late_arrival", "service:serve"),
            fact(1_910, "dataset.committed", "flights: 981 rows landed, 6 set aside", "service:replay"),
            fact(1_909, "monitor.measured", "late_arrival: 6,412 decisions against late_arrival@2", "service:watch"),
        ]),
        ledger: LedgerView {
            origin: "acme".to_owned(),
            size: 1_912,
            root: "q9JcZcZ1m0k3QyJ7mN0sVn1kq9JcZcZ1m0k3QyJ7mN0=".to_owned(),
            key: "acme+3a1f09bb+ARrYg9JcZcZ1m0k3QyJ7mN0sVn1kq9JcZcZ1m0k3QyJ7".to_owned(),
        },
    }
}

fn empty() -> HomeView {
    let ledger = LedgerView { origin: "acme".to_owned(), size: 1, root: "x".to_owned(), key: "acme+1".to_owned() };
    HomeView {
        frame: frame(),
        description: None,
        datasets: Vec::new(),
        versions: Vec::new(),
        deployments: Vec::new(),
        monitors: Vec::new(),
        budgets: Vec::new(),
        facts: Some(Vec::new()),
        ledger,
    }
}

/// What stands between two texts, without the tags.
fn text(html: &str) -> String {
    let mut text = String::new();
    let mut inside = true;
    for letter in html.chars() {
        match letter {
            '<' => inside = false,
            '>' => {
                inside = true;
                text.push(' ');
            }
            _ if inside => text.push(letter),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_bar_says_its_split_without_colour() {
    let bar = crate::traffic::bar(&[part(1, 0.875), part(2, 0.125)]).into_string();
    assert!(bar.contains(r#"aria-label="traffic: late_arrival@1 87.5%, late_arrival@2 12.5%""#), "{bar}");
    assert!(bar.contains(r#"<rect class="striped" x="87.50" width="12.50" height="5">"#), "{bar}");
    assert_snapshot!(text(&bar), @"late_arrival@1 87.5% late_arrival@2 12.5%");
}

#[test]
fn a_chip_says_its_verdict_without_colour() {
    let chip = |verdict| crate::home::chip(&gate("quality", verdict)).into_string();
    assert_snapshot!(chip(Verdict::Failed), @r#"<span class="chip bad" title="the quality is what it is"><span aria-hidden="true">✗</span> quality<span class="hidden"> failed</span></span>"#);
    assert_snapshot!(text(&chip(Verdict::Waived)), @"≈ quality waived");
}

#[test]
fn an_empty_company_is_told_what_would_fill_each_part() {
    let page = text(&crate::home(&empty()));
    for part in [
        "Nothing is deployed.",
        "Nothing is watched.",
        "No version yet.",
        "No dataset is declared.",
        "Nothing has happened yet.",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn the_whole_loop_is_on_the_page() {
    let html = crate::home(&full());
    let page = text(&html);
    for part in [
        "768,474 rows landed, 1,854 in quarantine",
        "168,402 made, 164,311 with a known outcome",
        "◐ late_arrival@3 is on step 1 of 3",
        "late_arrival@2 90% late_arrival@3 10%",
        "↩ rolled back late_arrival@2 is sent back",
        "counts as moved: 0.25",
        "promised: 0.65",
        "drift @1",
        "1,204 decisions until 2013-09-24 00:00 were looked at again: training sees other values of mean_delay in 3 of them.",
        "@2 takes over",
        "$0.0412 of $5.00",
        "1910 2013-09-30 23:00 dataset.committed",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(html.contains("drift detected on 2013-05-27; drift detected on 2013-08-08"), "the chart in words");
}

#[test]
fn nothing_that_people_wrote_becomes_markup() {
    let mut view = full();
    let evil = "<script>alert(1)</script>\" onload=\"x";
    view.frame.company = evil.to_owned();
    view.datasets[0].description = evil.to_owned();
    view.versions[0].gates[0].sentence = evil.to_owned();
    view.monitors[0].detections[0].sentence = evil.to_owned();
    view.monitors[0].drift[0].most_moved = Some(evil.to_owned());
    view.monitors[0].skew.as_mut().unwrap().most_often = Some((evil.to_owned(), 1));
    let html = crate::home(&view);
    assert!(!html.contains("<script") && !html.contains("\" onload=\""));
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    let html = crate::home(&full());
    for outside in ["<script", "style=\"", "http://", "https://", "@import"] {
        assert!(!html.contains(outside), "{outside}");
        assert!(!crate::STYLE.contains(outside), "{outside} in the style sheet");
    }
}

#[test]
fn one_measurement_is_no_chart() {
    let mut monitor = monitor();
    monitor.drift.truncate(1);
    monitor.quality.clear();
    assert!(crate::chart::chart(&monitor).is_none());
    monitor.drift.clear();
    assert!(crate::chart::chart(&monitor).is_none());
}

fn receipt() -> DecisionView {
    DecisionView {
        frame: frame(),
        id: "013e9b1c-2a00-7000-8000-0000000000aa".to_owned(),
        deployment: "late_arrival".to_owned(),
        version: "late_arrival@2".to_owned(),
        variant: "champion".to_owned(),
        at: at("2013-07-01T14:00:00Z"),
        entities: vec![("tailnum".to_owned(), "N501".to_owned())],
        probability: 0.83,
        decision: true,
        outcome: Some((false, at("2013-07-01T18:00:00Z"))),
        reasons: vec![
            ("the aircraft landed 62 minutes late last time".to_owned(), 1.32),
            ("the wind at the origin is 4 mph".to_owned(), -0.21),
        ],
        inputs: vec![
            ("last_arr_delay".to_owned(), Some(62.0), Some(at("2013-07-01T12:10:00Z"))),
            ("visib".to_owned(), None, None),
        ],
        latency_us: 212,
        usd: 0.000_000_003,
        proof: vec![
            ("row".to_owned(), "17 of 4,822 in its batch".to_owned()),
            ("fact".to_owned(), "1,911 of 1,912 in the log".to_owned()),
        ],
        fault: None,
    }
}

fn figures(name: &str, spread: Spread) -> ColumnFigures {
    ColumnFigures {
        name: name.to_owned(),
        kind: "int64, minutes".to_owned(),
        nulls: 25,
        distinct: 577,
        least: Some("-86".to_owned()),
        greatest: Some("1272".to_owned()),
        mean: Some(7.2),
        quantiles: Some([-32.0, -17.0, -5.0, 14.0, 91.0]),
        spread,
    }
}

fn dataset() -> DatasetView {
    let moments = ColumnFigures {
        quantiles: None,
        mean: None,
        least: Some("2013-01-01T05:00:00Z".to_owned()),
        greatest: Some("2013-12-31T23:00:00Z".to_owned()),
        ..figures("hour", Spread::Moments(vec![7, 0, 3], at("2013-01-01T05:00:00Z"), at("2013-12-31T23:00:00Z")))
    };
    let carriers = ColumnFigures {
        quantiles: None,
        ..figures("carrier", Spread::Top(vec![("UA".to_owned(), 600), ("<b>".to_owned(), 200), (String::new(), 50)]))
    };
    DatasetView {
        frame: frame(),
        row: full().datasets.remove(1),
        max_quarantined: None,
        columns: Vec::new(),
        checks: Vec::new(),
        quarantined: Vec::new(),
        warned: Vec::new(),
        commits: Vec::new(),
        profile: Shown::Yes(ProfileView {
            as_of: Some("q1".to_owned()),
            version: Some(12),
            rows: 4_000,
            looked_at: 1_000,
            columns: vec![
                figures("arr_delay", Spread::Numbers(vec![900, 74, 0, 1], -86.0, 1272.0)),
                moments,
                carriers,
                figures("id", Spread::Nothing("No value comes twice.")),
            ],
        }),
        quarantine: Shown::Yes(QuarantineView {
            open: 2,
            released: 1,
            discarded: 0,
            rows: vec![QuarantineRow {
                at: at("2013-04-01T00:00:00Z"),
                source: "data/flights/4.csv, row 7".to_owned(),
                reason: "arr_delay: 9999 is above 1500".to_owned(),
                row: "{\"arr_delay\":9999}".to_owned(),
                state: "released".to_owned(),
                resolved_at: Some(at("2013-04-02T00:00:00Z")),
            }],
        }),
        marks: vec![MarkRow {
            kind: "hold",
            name: "case-17".to_owned(),
            version: None,
            at: at("2013-05-01T00:00:00Z"),
            by: "person:ana".to_owned(),
            reason: "the court asks".to_owned(),
            fact: 41,
        }],
    }
}

#[test]
fn a_profile_says_in_words_what_it_draws() {
    let html = crate::dataset(&dataset());
    let page = text(&html);
    for part in [
        "What it holds ◷ as of q1 as it is now 4,000 rows in version 12. The figures come from a sample of 1,000 of them;",
        "arr_delay int64, minutes how the values of arr_delay are spread From −86 to 1272, in 4 bars of equal width. \
         The fullest is from −86 to 253.5, with 900 rows.",
        "missing 25 (2.5%) different about 577 median −5 , mean 7.2 half lie −17 to 14 90% lie −32 to 91",
        "The fullest is from 2013-01-01 05:00 to",
        "UA 600 61.5% &lt;b&gt; 200 20.5% (empty) 50 5.1% others 125 12.8%",
        "No value comes twice.",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // Each chart has a name and a description of its own; a bar of one row beside one of 900 is there to be seen.
    assert!(
        html.contains(r#"aria-labelledby="spread-0 spread-0-in-words""#) && html.contains(r#"<title id="spread-1">"#)
    );
    assert!(html.contains(r#"<rect class="bar" x="180.5" y="50.5" width="59" height="1.5">"#), "{html}");
    assert!(!html.contains("<b>"));
}

#[test]
fn set_aside_rows_and_holds_are_on_the_page() {
    let page = text(&crate::dataset(&dataset()));
    for part in [
        "2 open, 1 released, 0 discarded.",
        "✓ released 2013-04-02 00:00 arr_delay: 9999 is above 1500",
        "The newest 1 of 3.",
        "hold case-17 all 2013-05-01 00:00 person:ana the court asks #41",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let mut view = dataset();
    view.profile = Shown::No("You may not query it.".to_owned());
    assert!(text(&crate::dataset(&view)).contains("What it holds You may not query it."));
}

fn decided(version: u32, outcome: Option<bool>) -> DecisionRow {
    DecisionRow {
        id: "013e9b1c-2a00-7000-8000-0000000000aa".to_owned(),
        deployment: "late_arrival".to_owned(),
        version: format!("late_arrival@{version}"),
        candidate: version == 3,
        at: at("2013-07-01T14:00:00Z"),
        entities: vec![("tailnum".to_owned(), "N501".to_owned())],
        probability: 0.83,
        decision: true,
        outcome,
    }
}

#[test]
fn decisions_are_paged_and_filtered_by_links() {
    let view = DecisionsView {
        frame: frame(),
        deployments: vec!["late_arrival".to_owned(), "refunds".to_owned()],
        chosen: Some("late_arrival".to_owned()),
        hidden: vec!["hiring".to_owned()],
        decisions: vec![decided(2, Some(true)), decided(3, Some(false)), decided(2, None)],
        older: Some("013e9b1c-2a00-7000-8000-0000000000aa".to_owned()),
        later_pages: true,
    };
    let html = crate::decisions(&view);
    for link in [
        "/console/decisions?deployment=late_arrival&amp;before=013e9b1c-2a00-7000-8000-0000000000aa",
        "/console/decisions?deployment=refunds",
        "/console/decisions/013e9b1c-2a00-7000-8000-0000000000aa",
        "/console/models/late_arrival@3",
    ] {
        assert!(html.contains(&format!("href=\"{link}\"")), "{link}: {html}");
    }
    let page = text(&html);
    for part in [
        "Decisions of late_arrival What was decided, newest first.",
        "You may not see those of hiring.",
        "2013-07-01 14:00 tailnum N501 yes 83% ✓ right: yes late_arrival@2 013e9b1c…",
        "✗ wrong: no late_arrival@3 ◐ candidate 013e9b1c…",
        "not known yet",
        "← newest older →",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

fn deployment_page() -> DeploymentPageView {
    let mut deployment = full().deployments.remove(0);
    for at in 1..deployment.history.len() {
        deployment.history[at].until = Some(deployment.history[at - 1].from);
    }
    let row = |number: u32, rolled_back| DeployedRow {
        version: version(number, Vec::new(), Some(true), number > 1),
        first: at("2013-04-01T00:00:00Z"),
        last: (number == 1).then(|| at("2013-06-03T00:00:00Z")),
        most: 1.0,
        rolled_back,
    };
    let hour = |hour: i64, decisions| ActivityMark {
        at: at("2013-09-30T00:00:00Z") + Span::hours(hour),
        decisions,
        yes: decisions / 4,
        p50_us: 180.0,
        p99_us: 900.0 + decisions as f64,
    };
    DeploymentPageView {
        frame: frame(),
        deployment,
        pod: "arrivals".to_owned(),
        model: "late_arrival".to_owned(),
        about_people: true,
        threshold: 0.5,
        steps: vec![0.1, 0.5, 1.0],
        bake_outcomes: 500,
        guardrails: vec!["A candidate is rolled back when its Brier score is higher.".to_owned()],
        readings: vec![(0, vec!["Brier score 0.1500 against 0.1400".to_owned()])],
        versions: vec![row(3, 0), row(2, 1), row(1, 0)],
        incidents: vec![IncidentRow {
            opened: at("2013-05-27T00:00:00Z"),
            closed: None,
            version: "late_arrival@1".to_owned(),
            sentence: "`temp` has moved".to_owned(),
            retrain: true,
            fact: 700,
        }],
        activity: Shown::Yes(ActivityView {
            from: at("2013-09-17T00:00:00Z"),
            until: at("2013-10-01T00:00:00Z"),
            hours: vec![hour(5, 40), hour(6, 120), hour(9, 8)],
        }),
        decisions: vec![decided(2, None)],
    }
}

#[test]
fn a_deployment_tells_its_story() {
    let html = crate::deployment(&deployment_page());
    let page = text(&html);
    for part in [
        "! decides about people",
        "a probability of 50% or more decides yes",
        "What the guardrails see in step 1 Brier score 0.1500 against 0.1400",
        "10% → 50% → 100%",
        "late_arrival@2 ● answers ✓ yes 0.752 2013-04-01 00:00 still 100% ↩ 1 time",
        "● open temp has moved. A new version was asked for. #700",
        "168,402 made, 164,311 with a known outcome.",
        "168 decisions in 3 hours. The busiest hour, 2013-09-30 06:00: 120 decisions, 25% of them yes; median 180 µs, 99% below 1020 µs.",
        "from 2013-04-01 00:00 late_arrival@1 100%; from 2013-05-30 00:00 late_arrival@1 100%",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let mut empty = deployment_page();
    empty.deployment.history.clear();
    empty.deployment.traffic.clear();
    empty.versions.clear();
    empty.incidents.clear();
    empty.activity = Shown::No("You may not see its decisions.".to_owned());
    let page = text(&crate::deployment(&empty));
    for part in ["No version answers yet.", "Traffic has not moved yet.", "You may not see its decisions."] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn every_page_needs_nothing_from_elsewhere() {
    let decisions = DecisionsView {
        frame: frame(),
        deployments: Vec::new(),
        chosen: None,
        hidden: Vec::new(),
        decisions: Vec::new(),
        older: None,
        later_pages: false,
    };
    let pages = [crate::dataset(&dataset()), crate::deployment(&deployment_page()), crate::decisions(&decisions)];
    for (html, outside) in
        pages.iter().flat_map(|html| ["<script", "style=\"", "http://", "https://"].map(|o| (html, o)))
    {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn a_receipt_reads_as_a_story() {
    let page = text(&crate::decision(&receipt()));
    let story = &page[page.find("late_arrival: yes").unwrap()..page.find("Every figure").unwrap()];
    assert_snapshot!(story, @"late_arrival: yes 83% Decided for 2013-07-01 14:00 by late_arrival@2 , the champion of its deployment. ✓ proven: row, batch, fact, signed checkpoint Because Log-odds towards yes (+) and towards no (−). reasons, the strongest first reason direction weight the aircraft landed 62 minutes late last time +1.320 the wind at the origin is 4 mph -0.210 About tailnum N501 outcome no, known 2013-07-01 18:00 ✗ wrong took 212 µs cost $0.000000003 decision 013e9b1c-2a00-7000-8000-0000000000aa From what was known inputs input value known at last_arr_delay 62 2013-07-01 12:10 visib missing — Proof receipt as JSON row 17 of 4,822 in its batch fact 1,911 of 1,912 in the log");
    let mut broken = receipt();
    broken.fault = Some("the row is not under the Merkle root of its batch".to_owned());
    assert!(
        text(&crate::decision(&broken)).contains("✗ not proven: the row is not under the Merkle root of its batch")
    );
}
