use crate::support::{Gateway, Upstream, ask};
use relayfreellm::sim::Flavour;
#[tokio::test]
async fn scratch_cf() {
    for m in ["m", "@cf/openai/gpt-oss-120b"] {
        let gateway = Gateway::with([Upstream::new("Cloudflare", Flavour::Cloudflare).model(m)])
            .start()
            .await;
        for _ in 0..3 {
            let answer = gateway.stream(&ask(&format!("cloudflare/{m}"))).await;
            println!("{:#?} {:?}", answer.data, answer.headers);
            let r = gateway.upstream("cloudflare").records();
            println!("{:?}", r.last());
        }
    }
}
