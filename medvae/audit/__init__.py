"""Attacks on what a model gives away, run with patients' data inside the tenant.

    audit   synthetic volumes against the patients behind them: copies, copied parts, and,
            with patients that the model never saw, membership

An audit that finds nothing is no proof: the guarantee is the plan's epsilon. One that finds
something is a proof that something is wrong.
"""

from medvae.audit.report import Finding, Report
from medvae.audit.run import audit

__all__ = ["Finding", "Report", "audit"]
