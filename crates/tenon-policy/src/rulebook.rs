//! Answers questions: policies and company in, a permit or a refusal in plain words out. No I/O, no clock.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Request as Question, RequestValidationError, Response,
    RestrictedExpression as Value,
};
use parking_lot::RwLock;
use tenon_core::spec::SpecSet;
use tenon_core::{PodName, Principal};

use crate::action::Action;
use crate::entities::Maker;
use crate::error::PolicyError;
use crate::policies::Policies;
use crate::request::{Declared, Request, Target};

/// Answers kept for one generation of specs. Callers choose names freely, so it is bounded.
const MOST_ANSWERS: usize = 16_384;

/// What the policies say to a request. A refusal is an answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Whether it may be done.
    pub allowed: bool,
    /// The policies that decided, by their `@id`, in alphabetical order: those that permit it, or those that forbid it;
    /// none where it is refused because no policy permits it.
    pub policies: Vec<String>,
    /// The answer in plain words.
    pub sentence: String,
}

/// The policies of one company as it stands. The same question always has the same answer.
pub struct Rulebook {
    specs: Arc<SpecSet>,
    policies: Arc<Policies>,
    entities: Entities,
    authorizer: Authorizer,
    answers: RwLock<HashMap<Request, Authorization>>,
}

impl Rulebook {
    /// The rulebook of what is applied.
    ///
    /// # Errors
    /// [`PolicyError::Engine`] when Cedar does not take the company.
    pub fn new(specs: Arc<SpecSet>, policies: Arc<Policies>) -> Result<Self, PolicyError> {
        let entities = Maker { specs: &specs, names: &policies.names }.all(&policies)?;
        Ok(Self { specs, policies, entities, authorizer: Authorizer::new(), answers: RwLock::default() })
    }

    /// The specs that it was made of.
    pub fn specs(&self) -> &Arc<SpecSet> {
        &self.specs
    }

    /// The policies that it was made of.
    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`PolicyError::Engine`] when Cedar does not take the question.
    pub fn judge(&self, request: &Request) -> Result<Authorization, PolicyError> {
        if let Some(answer) = self.answers.read().get(request) {
            return Ok(answer.clone());
        }
        let answer = self.weigh(request)?;
        let mut answers = self.answers.write();
        if answers.len() >= MOST_ANSWERS {
            answers.clear();
        }
        answers.insert(request.clone(), answer.clone());
        Ok(answer)
    }

    /// Asks once for each pod that is concerned; the first refusal stands.
    fn weigh(&self, request: &Request) -> Result<Authorization, PolicyError> {
        let applied = match &request.target {
            Target::Resource(resource) => Declared::of(&self.specs, resource),
            Target::Ledger | Target::Token { .. } => None,
        };
        let declared = request.declared.as_ref();
        let answer = self.ask(request, applied.as_ref(), declared)?;
        match (&applied, declared) {
            (Some(applied), Some(declared)) if answer.allowed && applied.pod != declared.pod => {
                let moved = Declared { pod: declared.pod.clone(), ..applied.clone() };
                self.ask(request, Some(&moved), Some(declared))
            }
            _ => Ok(answer),
        }
    }

    fn ask(
        &self,
        request: &Request,
        applied: Option<&Declared>,
        declared: Option<&Declared>,
    ) -> Result<Authorization, PolicyError> {
        let (names, schema) = (&self.policies.names, &self.policies.schema);
        let make = Maker { specs: &self.specs, names };
        let target = names.target(&request.target, &self.specs.company.name);
        let mut extra = Vec::new();
        if declared.is_some() || self.entities.get(&target).is_none() {
            extra.push(make.target(&request.target, applied, declared)?);
        }
        let holder = match &request.target {
            Target::Token { acts_as, .. } => Some(acts_as),
            _ => None,
        };
        for principal in [Some(&request.principal), request.context.approved_by.as_ref(), holder].into_iter().flatten()
        {
            if self.entities.get(&names.principal(principal)).is_none() {
                extra.push(make.principal(principal)?);
            }
        }
        // What was said of the action that this one is a part of was said of this one.
        let mut questions = Vec::new();
        for action in [Some(request.action), request.action.part_of()].into_iter().flatten() {
            let question = Question::new(
                names.principal(&request.principal),
                names.action(action),
                target.clone(),
                self.context(request)?,
                Some(schema),
            );
            match question {
                Ok(question) => questions.push(question),
                Err(RequestValidationError::InvalidPrincipalType(_)) => {
                    return Ok(refused(request, Vec::new(), "that is for people alone"));
                }
                Err(RequestValidationError::InvalidResourceType(_)) => {
                    let why = format!("`{}` is nothing that is done to it", request.action);
                    return Ok(refused(request, Vec::new(), &why));
                }
                Err(error) => return Err(PolicyError::engine("question", error)),
            }
        }
        let entities = if extra.is_empty() {
            Cow::Borrowed(&self.entities)
        } else {
            let widened = self.entities.clone().upsert_entities(extra, Some(schema));
            Cow::Owned(widened.map_err(|error| PolicyError::engine("question's entities", error))?)
        };
        let answer = |question: &Question| self.authorizer.is_authorized(question, &self.policies.set, &entities);
        let responses: Vec<Response> = questions.iter().map(answer).collect();
        let pod = applied.or(declared).and_then(|of| of.pod.as_ref());
        Ok(self.tell(request, pod, &responses))
    }

    /// The part of the context that the schema gives to the action.
    fn context(&self, request: &Request) -> Result<Context, PolicyError> {
        let known = &request.context;
        let pairs = match request.action {
            Action::RolloutStart | Action::RolloutAdvance => vec![
                ("fairness_gate_passed".to_owned(), Value::new_bool(known.fairness_gate_passed)),
                ("approved".to_owned(), Value::new_bool(known.approved)),
            ],
            Action::GateWaive => {
                let mut pairs = vec![("gate".to_owned(), Value::new_string(known.gate.clone()))];
                if let Some(person @ Principal::Person(_)) = &known.approved_by {
                    let person = Value::new_entity_uid(self.policies.names.principal(person));
                    pairs.push(("approved_by".to_owned(), person));
                }
                pairs
            }
            _ => Vec::new(),
        };
        Context::from_pairs(pairs).map_err(|error| PolicyError::engine("question's context", error))
    }

    /// One forbid refuses, one permit is enough; of several responses as of one.
    fn tell(&self, request: &Request, pod: Option<&PodName>, responses: &[Response]) -> Authorization {
        // Cedar skips a policy that fails; one that would have forbidden must not be skipped.
        let mut failed = responses.iter().flat_map(|response| response.diagnostics().errors());
        if let Some(error) = failed.next() {
            return refused(request, Vec::new(), &format!("a policy could not be evaluated: {error}"));
        }
        let that_decided = |decision: Decision| -> Vec<String> {
            let decided = responses.iter().filter(|response| response.decision() == decision);
            let ids: BTreeSet<String> =
                decided.flat_map(|response| response.diagnostics().reason().map(ToString::to_string)).collect();
            ids.into_iter().collect()
        };
        let say = |id: &String| format!("{} (policy `{id}`)", self.policies.says(id));
        let said = |policies: &[String]| policies.iter().map(say).collect::<Vec<_>>().join("; ");
        let (forbid, permit) = (that_decided(Decision::Deny), that_decided(Decision::Allow));
        if !forbid.is_empty() {
            let said = said(&forbid);
            return refused(request, forbid, &said);
        }
        if permit.is_empty() {
            let why = format!("no policy permits it; {}", self.whose(&request.principal, pod));
            return refused(request, permit, &why);
        }
        let Request { principal, action, target, .. } = request;
        let sentence = format!("{principal} may {} {target}: {}", action.phrase(), said(&permit));
        Authorization { allowed: true, policies: permit, sentence }
    }

    /// Who owns it and where the principal belongs: what mostly explains why no policy permits something.
    fn whose(&self, principal: &Principal, pod: Option<&PodName>) -> String {
        let owner = match pod {
            Some(pod) if self.specs.pods.contains_key(pod) => format!("it belongs to pod {pod}"),
            Some(pod) => format!("its pod {pod} is not applied yet"),
            None => "it belongs to no pod".to_owned(),
        };
        let Principal::Person(name) = principal else { return owner };
        let pods = self.specs.pods.iter().filter_map(|(pod, spec)| {
            let member = spec.members.get(name)?;
            Some(format!("{} of {pod}", member.role))
        });
        let pods = pods.collect::<Vec<_>>().join(", ");
        if pods.is_empty() {
            format!("{owner}, and {name} is in no pod")
        } else {
            format!("{owner}, and {name} is {pods}")
        }
    }
}

fn refused(request: &Request, policies: Vec<String>, why: &str) -> Authorization {
    let Request { principal, action, target, .. } = request;
    let sentence = format!("{principal} may not {} {target}: {why}", action.phrase());
    Authorization { allowed: false, policies, sentence }
}
