"""Attacks on what a model gives away, run with patients' data inside the tenant.

    audit   synthetic volumes against the patients behind them: copies, copied parts; and, with
            patients that the model never saw, the closest record, and the model's own numbers:
            membership

An audit that finds nothing is no proof: the guarantee is the plan's epsilon, and each finding says
the least that it would have found. One that finds something shows that something is wrong.
"""

from medvae.audit.report import Finding, Report
from medvae.audit.run import audit

__all__ = ["Finding", "Report", "audit"]
