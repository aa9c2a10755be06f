"""What every key of weir.yaml means, in one sentence. Keys are `Model.field`.

`scripts/build_reference.py` refuses a key that stands in the schema and not here, or the
other way round.
"""

from __future__ import annotations

DEFAULTS = {
    "RootSection.on_store_failure": "`closed`",
    "RootSection.keys": "",
    "RootSection.holdout": "`0%`",
    "RecordConfig.bodies": "`never`",
    "SavingsConfig.delta": "`2 points`",
    "QualitySection.floor": "`97% of requested`",
    "Limits.max_request": "",
}

SECTIONS = {
    "RootSection": ("Top level", "The whole file. Unknown and duplicate keys are refused."),
    "ServerSection": ("`server`", "The process: where it listens and what it refuses."),
    "UpstreamSection": ("`upstreams.NAME`", "One provider: where it is, how it is spoken to."),
    "TimeoutsSection": ("`upstreams.NAME.timeouts`", "Seconds."),
    "EndpointSection": (
        "`upstreams.NAME.endpoints[]`",
        "One of several addresses or credentials of an upstream, all at one price.",
    ),
    "ModelEntry": ("`models.NAME`", "A public name: where it is served and what it is for."),
    "EffectiveLengths": (
        "`models.NAME.effective_context`",
        "Tokens by kind of reading; what is not named is the catalog's. 0: below 1,024.",
    ),
    "PriceTerms": (
        "`models.NAME.price`",
        (
            "USD per million tokens, for a model that the price book does not know or prices "
            "otherwise. What is not named is inherited."
        ),
    ),
    "Above": ("`models.NAME.price.above[]`", "Prices from a prompt length on, for all its tokens."),
    "OverrideTerms": (
        "`prices.overrides[]`",
        (
            "A price that somebody answers for, until a day; it lies over everything else. A "
            "contract's clauses (see docs/guides/prices.md) take the same keys but `author`, "
            "`upstream`, `model` and `why`."
        ),
    ),
    "RoutingSection": ("`routing`", "Which model."),
    "ExploreSection": (
        "`routing.explore`",
        "Trying the other choice now and then, so that others can be judged. Off by default.",
    ),
    "ShadowSection": (
        "`routing.shadow`",
        (
            "Labels from asking twice: what a small model answered is asked of the model that was "
            "asked for, too, after the answer has gone out. docs/guides/routing.md."
        ),
    ),
    "QualitySection": ("`routing.quality`", "How much quality a cheaper model must keep."),
    "FitSection": ("`fit`", "What may be done to a prompt."),
    "EmbedderSection": ("`fit.embedder`", "A server of sentence vectors, asked when a trim ranks."),
    "SummarizerSection": ("`fit.summarizer`", "Who writes the memories of `compress`."),
    "Limits": ("`limits`", "Ceilings other than budgets; every level counts, the tightest wins."),
    "TeamConfig": ("`teams.NAME`", "A team: who pays and who answers for it."),
    "ProjectConfig": ("`teams.NAME.projects.NAME`", "A project of a team."),
    "KeyConfig": (
        "`keys.NAME`",
        "A virtual key. `NAME: sha256:...` alone is the same as `NAME: { hash: sha256:... }`.",
    ),
    "PricesConfig": ("`prices`", "The price book."),
    "AnswersSection": (
        "`answers`",
        "Answers that are kept for the same request. Off by default.",
    ),
    "NotifySection": (
        "`notify`",
        "Where `notify` rungs are told: every channel named here, once a window and rung.",
    ),
    "SmtpSection": ("`notify.smtp`", "E-mail."),
    "CurrencyConfig": (
        "`currency`",
        "Another currency for the dashboard, by rates of one's own. The ledger stays in USD.",
    ),
    "RateConfig": ("`currency.rates[]`", "One rate and the day from which it holds."),
    "PersonConfig": ("`people.NAME`", "Who may open the dashboard, with a key of their own."),
    "SavingsConfig": ("`savings`", "When a saving is called clean."),
    "RecordConfig": ("`record`", "What is kept beside receipts."),
}

_NODE = {
    "budget": "One budget or a list: `500 per month` (day, week, month, quarter, year), "
    "`40 per rolling 5h`, `60 per user per day`, `2 per request`. USD.",
    "at": "The ladder, by name, that answers as budgets fill.",
    "limits": "Ceilings, see `limits`.",
    "allow": "Only these models, by public name or tier. Every level must allow a model.",
    "forbid": "Never here or below: `route`, `downgrade`, `lossless`, `trim`, `compress`, "
    "`response_cache`, `fallback`, `shadow`.",
    "prefer": "`{ fit: ... }`: `off`, `lossless`, `trim`, `compress` or `hard`, the strongest way "
    "wanted here; `keep_recent` and `ratio` stand above those of `fit`.",
    "holdout": "The share of sessions sent untouched here, such as `5% of sessions`.",
    "region": "A region that requests must stay in: only models whose `region` is the same serve "
    "them (see `upstreams.NAME.region`); one without a region never does.",
    "record": "What is kept here, in place of `record`: `{ bodies: never }`.",
    "keys": "Names of keys (under `keys:`) that belong here. A key has one place.",
}
_PRICES = (
    "input", "output", "cache_read", "cache_write", "cache_write_5m", "cache_write_30m",
    "cache_write_1h", "cache_write_12h", "reasoning", "input_audio", "input_image",
    "output_audio", "output_image",
)  # fmt: skip

TEXTS = {
    "RootSection.version": "Of this format.",
    "RootSection.database": "`sqlite:///weir.db` lies beside this file, "
    "`sqlite:////data/weir.db` is absolute; or `postgresql://user:password@host/weir`. "
    "Its folder must exist.",
    "RootSection.journal": "Folder of this machine's journals where the database is a server's; "
    "relative to the folder of this file.",
    "RootSection.shared_state": "`redis://host:6379/0` (or a compatible server): budgets and rate "
    "limits shared by machines. Without it a database's processes share budgets through it.",
    "RootSection.server": "See `server`.",
    "RootSection.upstreams": "Providers by name.",
    "RootSection.models": "Models by public name; `auto` is reserved.",
    "RootSection.routing": "See `routing`.",
    "RootSection.fit": "See `fit`.",
    "RootSection.timezone": "IANA name. Calendar windows begin at local midnight here.",
    "RootSection.budget": "Budgets of the whole organisation; written as under `teams`.",
    "RootSection.at": "The organisation's ladder, by name.",
    "RootSection.ladders": "Named ladders: threshold to one action or a list. Thresholds: `80%`, "
    "`pace 130%`, `burn 8x in 1h`. Actions: `notify`, `route: cheaper` (or a tier), "
    "`compress: soft` or `hard`, `max_output: 2000`, `throttle: 50%` (that share passes, the rest "
    "is 429), `approve` (402 without a grant), `reject`, `reject: 429`.",
    "RootSection.limits": "Ceilings of the whole organisation, see `limits`.",
    "RootSection.teams": "Teams by name.",
    "RootSection.keys": "Keys by name, as hashes.",
    "RootSection.holdout": "The share of sessions that pass untouched, so that savings are "
    "measured: `5% of sessions`.",
    "RootSection.prices": "See `prices`.",
    "RootSection.record": "See `record`.",
    "RootSection.savings": "See `savings`.",
    "RootSection.on_store_failure": "Where shared budgets cannot be reached: `closed` refuses what "
    "does not fit in what this process has claimed, `open 5m` goes on by the last figures.",
    "ServerSection.host": "Address to listen on.",
    "ServerSection.port": "0 picks a free one.",
    "AnswersSection.exact": "The same request of the same key, under the same configuration, "
    "gets the answer that it got before; nothing is asked or paid.",
    "AnswersSection.ttl_seconds": "How long an answer is kept.",
    "AnswersSection.max_mb": "How much all kept answers may take, sealed; the oldest go first.",
    "ServerSection.max_body_mb": "Larger bodies are refused with 413.",
    "ServerSection.max_file_mb": "Larger uploads to `/v1/files` are refused with 413.",
    "ServerSection.max_concurrent": "Requests at once; more are refused with 503.",
    "ServerSection.sweep_seconds": "How often holds without a request are looked for. What a "
    "provider may have billed is charged at its hold.",
    "ServerSection.hold_expiry_seconds": "The age at which a hold has no request any more; by "
    "default twice what all attempts of a request may take (`timeouts.total`).",
    "ServerSection.heartbeat_seconds": "Looked at so often, a stream that has begun and said "
    "nothing since gets a comment, so that nobody in between takes it for dead; 0: never.",
    "ServerSection.drain_seconds": "What requests in flight get to finish on SIGTERM.",
    "UpstreamSection.kind": "`openai`: OpenAI's wire, bytes relayed untouched. `litellm`: all "
    "other providers, translated. `anthropic`: Anthropic's wire, bytes relayed untouched.",
    "UpstreamSection.base_url": "Up to and with `/v1`. Default: the provider's own for "
    "`openai` and `anthropic`.",
    "UpstreamSection.api_key": "Write `${NAME}` to take it from the environment.",
    "UpstreamSection.provider": "Its name in the price book, where the address does not tell.",
    "UpstreamSection.output_limit_field": "`max_completion_tokens` or `max_tokens`: which one "
    "carries the output limit. Default: by provider.",
    "UpstreamSection.region": "Where it serves, such as `eu`; what `region` of a team is compared "
    "with. Anthropic is told the team's region in each request (`inference_geo`) where none "
    "stands here.",
    "UpstreamSection.endpoints": "Several addresses or keys of one provider: the load is spread "
    "by weight, one that fails five times in a row or refuses its key rests.",
    "UpstreamSection.retries": "How often a failure that cannot have been billed is asked again "
    "here, with the provider's own wait up to 5 s or a random one, before a fallback is.",
    "UpstreamSection.timeouts": "See `upstreams.NAME.timeouts`.",
    "EndpointSection.base_url": "Default: the upstream's.",
    "EndpointSection.api_key": "Default: the upstream's.",
    "EndpointSection.weight": "Its share of the load, beside the others' weights.",
    "TimeoutsSection.connect": "To open a connection.",
    "TimeoutsSection.first_byte": "From sent to the first byte of the answer.",
    "TimeoutsSection.idle": "Between two pieces of a stream, once its first event has come.",
    "TimeoutsSection.total": "For the whole answer.",
    "ModelEntry.upstream": "A name under `upstreams`.",
    "ModelEntry.model": "The provider's own name. Default: the public one.",
    "ModelEntry.tier": "`small`, `mid` or `long`: what routing uses it for.",
    "ModelEntry.fallbacks": "Public names tried when the upstream fails before the first byte.",
    "ModelEntry.context_window": "Tokens. Default: the catalog's.",
    "ModelEntry.effective_context": (
        "Tokens up to which quality holds: one number, `{ literal: ..., semantic: ..., multi: ... "
        "}`, or the path of a card that `weir probe` wrote. Default: the catalog's (`weir models`)."
    ),
    "EffectiveLengths.literal": "For finding words that stand in the question.",
    "EffectiveLengths.semantic": "For finding what only means the same.",
    "EffectiveLengths.multi": "For reading many places at once.",
    "EffectiveLengths.source": "Who measured it.",
    "EffectiveLengths.date": "When.",
    "ModelEntry.region": "Where it is served. Default: its upstream's.",
    "ModelEntry.price": "See `models.NAME.price`. Default: the price book's.",
    "ModelEntry.free": "It costs nothing, such as a model of your own.",
    "PriceTerms.free": "As on the model.",
    **{f"PriceTerms.{name}": f"`{name}` tokens." for name in _PRICES},
    "PriceTerms.above": "A list of steps, see `above[]`.",
    "PriceTerms.request": "USD a request.",
    "PriceTerms.image": "USD a picture that is made.",
    "PriceTerms.second": "USD a second of sound that is heard.",
    "PriceTerms.character": "USD a million characters that are spoken.",
    "PriceTerms.tool_calls": "USD a call, by kind: `{ web_search: 0.01 }`.",
    "Above.tokens": "Prompt tokens above which the step holds.",
    "Above.inclusive": "It holds from that many tokens on, not only above.",
    **{f"Above.{name}": f"`{name}` tokens." for name in _PRICES},
    **{f"OverrideTerms.{name}": f"`{name}` tokens." for name in _PRICES},
    "OverrideTerms.free": "It costs nothing.",
    "OverrideTerms.above": "A list of steps, see `above[]`.",
    "OverrideTerms.request": "USD a request.",
    "OverrideTerms.image": "USD a picture that is made.",
    "OverrideTerms.second": "USD a second of sound that is heard.",
    "OverrideTerms.character": "USD a million characters that are spoken.",
    "OverrideTerms.tool_calls": "USD a call, by kind.",
    "OverrideTerms.discount": "Off the rates of all tokens below, in every tier: `15%`.",
    "OverrideTerms.uplift": "On the rates of all tokens below: `10%`.",
    "OverrideTerms.service_tier": "Only for requests served in this tier.",
    "OverrideTerms.batch": "Only for batches.",
    "OverrideTerms.region": "Only where the answer names this region.",
    "OverrideTerms.start": "The first day.",
    "OverrideTerms.until": "The day on which it no longer holds.",
    "OverrideTerms.hours": "Only between these: `22:00-06:00`.",
    "OverrideTerms.weekdays": "Only on these: `[sat, sun]`.",
    "OverrideTerms.timezone": "Of days and hours.",
    "OverrideTerms.author": "Who answers for it.",
    "OverrideTerms.upstream": "One name or a list. Default: every upstream.",
    "OverrideTerms.model": "The provider's name of the model, or `*`.",
    "OverrideTerms.why": "For whoever reads it next.",
    "RoutingSection.mode": "`observe` changes nothing and records what would be done; `route` "
    "acts on it.",
    "RoutingSection.baseline": "The model that `model: auto` is compared with.",
    "RoutingSection.explore": "See `routing.explore`. None: nothing is tried.",
    "ExploreSection.share": "Of the requests whose choice of a small or the asked-for model only "
    "the score decided, such as `1%`: so many go the other way.",
    "ExploreSection.budget_usd": "What may be put at stake in a UTC day, in a process and those it "
    "shares memory with: what a larger model cost more, and small answers that were only tried.",
    "RoutingSection.weights": "A file that `weir router train` wrote, relative to this one: what "
    "your own labels add to the shipped score. Without the line the shipped score decides.",
    "RoutingSection.shadow": "See `routing.shadow`. None: nothing is asked twice.",
    "ShadowSection.share": "Of the requests that a small model answered in place of the model "
    "asked for, such as `2%`.",
    "ShadowSection.budget": "USD of its own for a time, such as `2 per day` or `[2 per day, 40 per "
    "month]`; the organisation's budget counts it, too. Spent: nothing more is asked.",
    "ShadowSection.judge": "`rule`: only answers that need no opinion are compared (options, JSON, "
    "the same words). A declared model compares the others, asked in both orders.",
    "QualitySection.limits": "The highest gain at which a small model keeps a floor, by floor, "
    "from your own labels: `weir router calibrate` prints it. Empty: the shipped calibration.",
    "RoutingSection.escalate": "`on_fault`: an answer of a cheaper model that is empty, refused, "
    "cut short by the model, no JSON where JSON was asked for, or calls a tool wrongly, is asked "
    "for once more of the model asked for; both are billed. `never`: it goes out. Not on streams.",
    "RoutingSection.escalations": "USD that one key may spend in a UTC day on going up under "
    "`model: auto`; beyond it `auto` stays with the small models. None: no limit.",
    "RoutingSection.quality": "See `routing.quality`.",
    "QualitySection.floor": "Of the quality of the model asked for: `97% of requested`.",
    "QualitySection.unproven": "Weak evidence: `keep` the model asked for, or `route` anyway.",
    "FitSection.allow": "What may be done to a prompt, in this order of preference; `[]` is "
    "nothing.",
    "FitSection.keep_recent": "Tokens at the end that are never touched.",
    "FitSection.ratio": "The hardest compression allowed: tokens before over after.",
    "FitSection.summarizer": "See `fit.summarizer`.",
    "FitSection.embedder": "`auto` (packaged MiniLM on a GPU, none on a CPU), `packaged`, "
    "`none`, the name of a sentence-transformers model, or a server, see `fit.embedder`.",
    "EmbedderSection.backend": "`tei` (text-embeddings-inference, `/embed`) or `openai` "
    "(`/embeddings`: vLLM, TEI's `/v1`, others).",
    "EmbedderSection.upstream": "A name under `upstreams`, of `kind: openai`.",
    "EmbedderSection.model": "The name that the server knows; a TEI server needs none. An entry "
    "of `models` with this upstream, this model (`tei` where none is named) and `free: true` must "
    "say that it costs nothing: what would have to be billed is not asked.",
    "EmbedderSection.timeout_s": "For all pieces of one request together; what is not there by "
    "then is ranked without.",
    "SummarizerSection.backend": "`extractive` (no model), `torch` (local), `openai` (an "
    "upstream of yours).",
    "SummarizerSection.model": "For `torch` a folder or name, for `openai` the model's name.",
    "SummarizerSection.upstream": "For `openai`: a name under `upstreams`.",
    "SummarizerSection.device": "`auto`, `cpu`, `cuda`.",
    "Limits.max_request": "USD that one request may cost at most.",
    "Limits.max_output": "Output tokens; fills a missing `max_tokens`, and lowers a larger one.",
    "Limits.rpm": "Requests a minute.",
    "Limits.tpm": "Tokens a minute: prompts when they come, completions once they are known.",
    "Limits.concurrency": "Requests at once, on each machine.",
    **{f"{node}.{name}": text for node in ("TeamConfig", "ProjectConfig")
       for name, text in _NODE.items()},
    "TeamConfig.cost_center": "For chargeback.",
    "TeamConfig.owner": "Whom to ask.",
    "TeamConfig.baseline": "What `auto` is compared with here, in place of `routing.baseline`.",
    "TeamConfig.timezone": "Of this team's calendar windows. Default: the organisation's.",
    "TeamConfig.projects": "Projects by name.",
    "KeyConfig.hash": "`sha256:` and 64 hex digits; `weir keys new NAME` prints it.",
    "KeyConfig.revoked": "Refused with 403; `weir keys revoke NAME` sets it.",
    "KeyConfig.expires": "An instant with an offset, such as `2027-01-31T00:00:00Z`.",
    "KeyConfig.budget": "Budgets of this key alone.",
    "KeyConfig.limits": "Ceilings of this key alone, see `limits`.",
    "RootSection.notify": "See `notify`.",
    "RootSection.answers": "See `answers`.",
    "NotifySection.webhook": "An address that gets one JSON POST a message; its `text` is what "
    "chat services show.",
    "NotifySection.smtp": "See `notify.smtp`.",
    "NotifySection.log": "One warning a message in the log.",
    "SmtpSection.host": "The mail server.",
    "SmtpSection.port": "Its port.",
    "SmtpSection.security": "`starttls`, `tls` or `none`.",
    "SmtpSection.username": "To log in with.",
    "SmtpSection.password": "Write `${NAME}` to take it from the environment.",
    "SmtpSection.sender": "The sender's address.",
    "SmtpSection.to": "Addresses.",
    "PricesConfig.contracts": "Files with negotiated terms, relative to this one; see "
    "docs/guides/prices.md.",
    "PricesConfig.overrides": "See `prices.overrides[]`.",
    "PricesConfig.unpriced": "`reject`: a model without a price is refused with 402. A ceiling "
    "such as `{ input: 20, output: 80 }`: it is held and booked at that, and counted.",
    "RootSection.currency": "Another currency for the dashboard; files keep USD beside it.",
    "CurrencyConfig.code": "Its three letters, such as EUR.",
    "CurrencyConfig.rates": "At least one rate; the last that has begun is used, its day is shown.",
    "RateConfig.since": "The day from which the rate holds.",
    "RateConfig.usd_per": "What one unit of the currency costs in USD.",
    "RootSection.people": "Who may open the dashboard, by name. Without any, whoever reaches it "
    "may: it listens on this machine alone.",
    "PersonConfig.key": "`sha256:` and 64 hex digits; `weir keys new NAME` prints both halves.",
    "PersonConfig.role": "`viewer` sees sums, `owner` also the requests of own teams, `finance` "
    "and `admin` everything.",
    "PersonConfig.teams": "Only these teams; an owner needs at least one.",
    "SavingsConfig.delta": "Savings are clean where the routed success rate is at most this far "
    "below the holdout's: `2 points`.",
    "RecordConfig.bodies": "How long a request, what was sent for it and its answer are kept, "
    "apart from the ledger: `never`, `7 days`. The nearest node decides.",
}  # fmt: skip
