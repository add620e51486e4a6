"""Which mix is better at equal compute, and how sure are we?"""
