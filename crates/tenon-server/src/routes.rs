//! Every route, with who may take it. The router is built from this table and from nothing else.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post};
use tenon_core::spec::ResourceKind;
use tenon_policy::Action;

use crate::access::Access;
use crate::access::Access::{Company, Inference, Inside, Ledger, Of, Open};
use crate::doors::Doors;
use crate::house::{House, Weight};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::way_in::{Entrance, Told, enter};
use crate::{
    changes, console, dataset_page, decisions, deployment_page, feast, features, ingest, listing, native, nearest, oip,
    online, quarantine, query, status, tlog, tokens, versions,
};

/// The most bytes of a request that does not bring rows or tensors.
const SMALL: usize = 1 << 20;

/// One route.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) weight: Weight,
    pub(crate) most_bytes: usize,
    /// Who reads what went wrong.
    pub(crate) told: Told,
    pub(crate) handler: MethodRouter<Arc<House>>,
}

impl Route {
    fn heavy(mut self, most_bytes: usize) -> Self {
        (self.weight, self.most_bytes) = (Weight::Heavy, most_bytes);
        self
    }

    fn up_to(mut self, most_bytes: usize) -> Self {
        self.most_bytes = most_bytes;
        self
    }

    fn page(mut self) -> Self {
        self.told = Told::Browser;
        self
    }

    fn feast(mut self) -> Self {
        self.told = Told::Feast;
        self
    }
}

/// The method as the protocol writes it.
fn word(method: &str) -> &'static str {
    match method {
        "get" => "GET",
        "delete" => "DELETE",
        _ => "POST",
    }
}

macro_rules! routes {
    ($($method:ident $path:literal, $access:expr, $handler:expr $(, $how:ident($($with:expr)?))*;)+) => {
        vec![$(
            Route {
                method: word(stringify!($method)),
                path: $path,
                access: $access,
                weight: Weight::Light,
                most_bytes: SMALL,
                told: Told::Program,
                handler: $method($handler),
            }$(.$how($($with)?))*
        ),+]
    };
}

/// The table.
pub(crate) fn all() -> Vec<Route> {
    use Action::*;
    use ResourceKind::{Dataset, Deployment, FeatureView, Model};
    const PROBES: &str = "probes carry no token, and hear only that it runs";
    const RECEIPT: &str = "on the deployment that made the decision, which only the record tells";
    const NAMED: &str = "on each dataset that the request names, or on all, after company.read";
    const HELD: &str = "on each dataset that the branch holds, after company.read";
    const SEEN: &str =
        "on the deployment that is asked for, or on each, without those that it refuses; after company.read";
    const VIEWS: &str = "on each feature view that the request names, or that its model reads, after model.read";
    const BEHIND: &str = "on the dataset that the request names, or that its feature view reads";
    routes! {
        get "/health", Open(PROBES), status::health;
        get "/metrics", Company(CompanyRead), status::metrics;

        get "/v2", Company(CompanyRead), oip::server;
        get "/v2/health/live", Open(PROBES), oip::live;
        get "/v2/health/ready", Open(PROBES), oip::ready;
        get "/v2/models/{model}", Of(ModelRead, Model, "model"), oip::metadata;
        get "/v2/models/{model}/ready", Of(ModelRead, Model, "model"), oip::model_ready;
        get "/v2/models/{model}/config", Of(ModelRead, Model, "model"), oip::config;
        get "/v2/models/{model}/stats", Of(ModelRead, Model, "model"), oip::stats;
        post "/v2/models/{model}/infer", Inference("model"), oip::infer, up_to(oip::MOST_BYTES);
        get "/v2/models/{model}/versions/{version}", Of(ModelRead, Model, "model"), oip::metadata;
        get "/v2/models/{model}/versions/{version}/ready", Of(ModelRead, Model, "model"), oip::model_ready;
        get "/v2/models/{model}/versions/{version}/config", Of(ModelRead, Model, "model"), oip::config;
        get "/v2/models/{model}/versions/{version}/stats", Of(ModelRead, Model, "model"), oip::stats;
        post "/v2/models/{model}/versions/{version}/infer", Inference("model"), oip::infer, up_to(oip::MOST_BYTES);
        post "/v2/repository/index", Company(CompanyRead), oip::index;

        post "/decide/{deployment}", Of(DeploymentDecide, Deployment, "deployment"), decisions::decide;
        post "/outcomes/{deployment}", Of(OutcomeRecord, Deployment, "deployment"), decisions::outcomes, up_to(8 << 20);
        get "/decisions/{id}", Inside(DecisionRead, RECEIPT), decisions::receipt;
        post "/ingest/{dataset}", Of(DatasetWrite, Dataset, "dataset"), ingest::push, heavy(ingest::MOST_BYTES);

        get "/log/checkpoint", Ledger(LedgerRead), tlog::checkpoint;
        get "/log/key", Ledger(LedgerRead), tlog::key;
        get "/log/tile/{*tile}", Ledger(LedgerRead), tlog::tile;

        get "/api/v1/datasets", Company(CompanyRead), native::datasets;
        get "/api/v1/features", Company(CompanyRead), native::features;
        get "/api/v1/models", Company(CompanyRead), native::models;
        get "/api/v1/versions", Company(CompanyRead), native::versions;
        get "/api/v1/deployments", Company(CompanyRead), native::deployments;
        get "/api/v1/monitors", Company(CompanyRead), native::monitors;
        get "/api/v1/incidents", Company(CompanyRead), native::incidents;
        get "/api/v1/facts", Ledger(LedgerRead), native::facts;
        get "/api/v1/facts/{index}", Ledger(LedgerRead), native::fact;
        get "/api/v1/history/{deployment}", Of(CompanyRead, Deployment, "deployment"), native::history;
        post "/api/v1/rollouts/{deployment}",
            Inside(RolloutStart, "on deployment {deployment}, knowing what the gates said of the candidate in the body"), native::rollout;
        post "/api/v1/rollbacks/{deployment}", Of(RolloutStop, Deployment, "deployment"), native::rollback;
        post "/api/v1/query", Inside(DatasetQuery, "on each table that the query reads, after company.read"), query::query, heavy(SMALL);
        get "/api/v1/tags", Company(CompanyRead), versions::tags;
        get "/api/v1/branches", Company(CompanyRead), versions::branches;
        get "/api/v1/datasets/{dataset}/diff", Of(DatasetRead, Dataset, "dataset"), versions::diff, heavy(SMALL);
        post "/api/v1/tags", Inside(DatasetTag, NAMED), changes::create_tag;
        delete "/api/v1/tags/{tag}", Inside(DatasetTag, "on each dataset that the tag pins, after company.read"), changes::delete_tag;
        post "/api/v1/branches", Inside(DatasetWrite, NAMED), changes::create_branch;
        get "/api/v1/branches/{branch}", Inside(DatasetRead, HELD), changes::branch;
        post "/api/v1/branches/{branch}/merge", Inside(BranchMerge, HELD), changes::merge_branch, heavy(SMALL);
        delete "/api/v1/branches/{branch}", Inside(DatasetWrite, HELD), changes::drop_branch;
        get "/api/v1/holds", Company(CompanyRead), changes::holds;
        post "/api/v1/holds", Inside(DatasetHold, NAMED), changes::create_hold;
        delete "/api/v1/holds/{hold}", Inside(DatasetHold, "on each dataset that the hold keeps, after company.read"), changes::release_hold;
        post "/api/v1/datasets/{dataset}/restore", Of(DatasetRestore, Dataset, "dataset"), changes::restore, heavy(SMALL);
        post "/api/v1/datasets/{dataset}/compact", Of(DatasetCompact, Dataset, "dataset"), changes::compact, heavy(SMALL);
        get "/api/v1/vacuum", Inside(DatasetVacuum, NAMED), changes::vacuum_plan, heavy(SMALL);
        get "/api/v1/datasets/{dataset}/profile", Of(DatasetQuery, Dataset, "dataset"), dataset_page::profile, heavy(SMALL);
        get "/api/v1/datasets/{dataset}/quarantine", Of(DatasetQuery, Dataset, "dataset"), quarantine::list, heavy(SMALL);
        post "/api/v1/datasets/{dataset}/quarantine/release",
            Of(QuarantineRelease, Dataset, "dataset"), quarantine::release, heavy(SMALL);
        post "/api/v1/datasets/{dataset}/quarantine/discard",
            Of(QuarantineDiscard, Dataset, "dataset"), quarantine::discard, heavy(SMALL);
        get "/api/v1/decisions", Inside(DecisionRead, SEEN), listing::decisions, heavy(SMALL);

        get "/", Company(CompanyRead), console::home, page();
        get "/console/models/{version}", Of(ModelRead, Model, "version"), console::model, page();
        get "/console/datasets/{dataset}", Of(CompanyRead, Dataset, "dataset"), dataset_page::page, heavy(SMALL), page();
        get "/console/deployments/{deployment}",
            Of(CompanyRead, Deployment, "deployment"), deployment_page::page, heavy(SMALL), page();
        get "/console/decisions", Inside(DecisionRead, SEEN), listing::page, heavy(SMALL), page();
        get "/console/decisions/{id}", Inside(DecisionRead, RECEIPT), console::decision, page();
        get "/console/facts", Ledger(LedgerRead), console::facts, page();
        get "/console/style.css", Open("the same for everybody, and says nothing"), console::style;

        post "/get-online-features", Inside(FeatureRead, VIEWS), feast::get_online_features, up_to(4 << 20), feast();
        post "/push", Inside(DatasetWrite, BEHIND), feast::push, heavy(feast::MOST_BYTES), feast();
        post "/write-to-online-store", Inside(DatasetWrite, BEHIND), feast::write_to_online_store, heavy(feast::MOST_BYTES), feast();
        post "/api/v1/features/{service}/online",
            Inside(FeatureRead, "on each feature view of the model, after model.read"), online::read, heavy(online::MOST_BYTES);
        post "/api/v1/features/{view}/nearest", Of(FeatureRead, FeatureView, "view"), nearest::nearest, heavy(SMALL);
        get "/api/v1/features/search", Company(CompanyRead), features::search, heavy(SMALL);

        post "/tokens/invite", Inside(TokenInvite, "on the pod that the body names"), tokens::invite;
        post "/tokens/redeem", Open("who has no token yet shows a code, which is good once; tries are limited"), tokens::redeem, up_to(4 << 10);
    }
}

/// The router of a table: every request to a route comes in by [`enter`].
pub(crate) fn router(doors: Doors, routes: Vec<Route>) -> Router {
    let house = Arc::new(House::new(doors, Metrics::new(routes.iter().map(|route| (route.method, route.path)))));
    let mut router = Router::new();
    for (at, route) in routes.into_iter().enumerate() {
        let Route { path, access, weight, most_bytes, told, handler, .. } = route;
        let entrance = Entrance { house: Arc::clone(&house), route: at, access, weight, told };
        let way_in = middleware::from_fn_with_state(entrance, enter);
        router = router.route(path, handler.layer(DefaultBodyLimit::max(most_bytes)).layer(way_in));
    }
    router
        .fallback(async || Problem::not_found("there is no such address here"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address is not asked so")
        })
        .with_state(house)
}
