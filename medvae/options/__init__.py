"""What a verb is asked for: one frozen class a verb.

The command line makes its flags of the fields, the session its keyword arguments, and the code
that does the work takes a value of the class. So a new flag of a verb is one field here, and the
line that uses it.
"""
