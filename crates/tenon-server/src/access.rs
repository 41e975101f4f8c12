//! What whoever takes a route must be allowed to do, and to what.

use std::fmt;

use axum::extract::RawPathParams;
use tenon_core::Principal;
use tenon_core::spec::{ResourceKind, ResourceRef, SpecSet};
use tenon_policy::{Action, Declared, Request, Target};

use crate::caller::Caller;
use crate::house::House;
use crate::problem::Problem;

/// The check of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// None, for this reason.
    Open(&'static str),
    /// The action on the company as a whole.
    Company(Action),
    /// The action on the ledger.
    Ledger(Action),
    /// The action on the resource that a segment of the path names; `NAME@VERSION` names the model.
    Of(Action, ResourceKind, &'static str),
    /// Inference on the deployment of the model that a segment of the path names.
    Inference(&'static str),
    /// The action on what only the request's content tells, for this reason; the handler asks.
    Inside(Action, &'static str),
}

/// The company as a whole.
pub(crate) fn company() -> ResourceRef {
    ResourceRef::new(ResourceKind::Company, "company")
}

impl Access {
    /// Passes a caller on, or says why not.
    pub(crate) async fn check(self, house: &House, caller: &Caller, path: &RawPathParams) -> Result<(), Problem> {
        match self {
            Self::Open(_) | Self::Inside(..) => Ok(()),
            Self::Company(action) => house.allow(caller, action, company()).await,
            Self::Ledger(action) => house.allow(caller, action, Target::Ledger).await,
            Self::Of(action, kind, segment) => {
                let resource = ResourceRef::new(kind, name(path, segment));
                must_exist(house, caller, &resource)?;
                house.allow(caller, action, resource).await
            }
            Self::Inference(segment) => {
                let model = ResourceRef::new(ResourceKind::Model, name(path, segment));
                must_exist(house, caller, &model)?;
                house.allow_request(&inference(&house.catalog.specs(), &caller.0, &model)).await
            }
        }
    }
}

fn name<'a>(path: &'a RawPathParams, segment: &str) -> &'a str {
    let value = path.iter().find(|(name, _)| *name == segment).map_or("", |(_, value)| value);
    value.split('@').next().unwrap_or_default()
}

/// A model answers for the deployment that serves it; one without asks as a deployment of its pod would.
fn inference(specs: &SpecSet, caller: &Principal, model: &ResourceRef) -> Request {
    let mut deployments =
        specs.deployments.iter().filter(|(_, deployment)| deployment.spec.model.as_str() == model.name);
    let deployed = deployments.next().map(|(name, _)| name.as_str());
    let target = ResourceRef::new(ResourceKind::Deployment, deployed.unwrap_or(&model.name));
    let request = Request::new(caller.clone(), Action::DeploymentInfer, target);
    match Declared::of(specs, model) {
        Some(declared) if deployed.is_none() => request.declared(declared),
        _ => request,
    }
}

/// Whoever may look at the company hears that there is no such thing; others only that they may not.
pub(crate) fn must_exist(house: &House, caller: &Caller, resource: &ResourceRef) -> Result<(), Problem> {
    house.guard.missing(&caller.0, resource)?.map_or(Ok(()), |sentence| Err(Problem::not_found(sentence)))
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(reason) => write!(f, "open: {reason}"),
            Self::Company(action) => write!(f, "{action} on the company"),
            Self::Ledger(action) => write!(f, "{action} on the ledger"),
            Self::Of(action, kind, segment) => write!(f, "{action} on {kind} {{{segment}}}"),
            Self::Inference(segment) => {
                write!(f, "{} on the deployment of model {{{segment}}}", Action::DeploymentInfer)
            }
            Self::Inside(action, reason) => write!(f, "{action} {reason}"),
        }
    }
}
