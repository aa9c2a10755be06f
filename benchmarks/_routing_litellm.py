"""litellm's complexity router on a file of prompts, its own code in a process of its own.

    python -m benchmarks._routing_litellm FILE

prints one score a row as a JSON list. Apart, since litellm takes seconds to import.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> int:
    """Score the prompts of a file as litellm's rule-based router does."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter

    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    scorer = ComplexityRouter(model_name="peer", litellm_router_instance=None)
    prompts = [json.loads(line)["prompt"] for line in lines if line.strip()]
    print(json.dumps([float(scorer.classify(prompt)[1]) for prompt in prompts]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
