module csr-judge

go 1.23
